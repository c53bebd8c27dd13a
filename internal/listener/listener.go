// Package listener accepts connections so that nobody keeps others out: an address
// holds a bounded number of them, and when all places are taken, the connection
// that has been idle for longest makes room for a new one.
package listener

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"tracklane/internal/network"
)

// Options bound the connections of a Listener. All numbers are above 0.
type Options struct {
	// Max is how many connections are open at the same time, those in Reserved
	// places not counted.
	Max int
	// MaxPerAddress is how many of them one address has; an IPv6 address stands for
	// its /64.
	MaxPerAddress int
	// Reserved is how many places more there are for loopback addresses alone, for
	// probes and operators of this machine, when no other place is left for them.
	// Each new one takes the place of the oldest of them, busy or not.
	Reserved int
	// MaxHeaders is how many bytes of request headers are in memory at the same time
	// before they are complete, not counting the first freeHeader of each. For more,
	// the connection whose header has been coming for longest is closed: net/http
	// makes some 25 bytes of each byte of a header of many short lines.
	MaxHeaders int
	// Unlimited are the networks that MaxPerAddress is not for, such as proxies.
	Unlimited []netip.Prefix
}

// Listener is a net.Listener. The http.Server that it is given to must call its
// ConnState.
type Listener struct {
	*net.TCPListener
	options Options

	mu       sync.Mutex
	general  places
	reserved places
	held     map[netip.Prefix]int // general connections by address
	headers  int                  // bytes that count to MaxHeaders
	reading  list.List            // of *conn, those that count to headers, the first the longest
}

// freeHeader is how many bytes of a header do not count to Options.MaxHeaders.
const freeHeader = 512

// places are a number of connections, those that are idle in the order in which
// they became so.
type places struct {
	most, taken int
	idle        list.List // of *conn
}

// New returns a Listener that accepts from a TCP listener.
func New(l *net.TCPListener, options Options) *Listener {
	return &Listener{
		TCPListener: l, options: options, held: make(map[netip.Prefix]int),
		general: places{most: options.Max}, reserved: places{most: options.Reserved},
	}
}

// Accept waits for the next connection for which there is a place. Others are
// closed at once.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		c := &conn{TCPConn: accepted, listener: l}
		c.awaitsHeader.Store(true)
		evicted, admitted := l.admit(c, accepted.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		if evicted != nil {
			_ = evicted.TCPConn.Close() // it is nobody's any more
		}
		if admitted {
			return c, nil
		}
		_ = accepted.Close() // the client sees it
	}
}

// admit gives c, which comes from an address, a place if it can, and takes that of
// the evicted connection if it has to.
func (l *Listener) admit(c *conn, address netip.Addr) (evicted *conn, admitted bool) {
	c.address = network.OfClient(address)
	unlimited := network.Contains(l.options.Unlimited, address)

	l.mu.Lock()
	defer l.mu.Unlock()
	if unlimited || l.held[c.address] < l.options.MaxPerAddress {
		if evicted, admitted = l.take(c, &l.general); admitted {
			return evicted, true
		}
	}
	if address.IsLoopback() {
		return l.take(c, &l.reserved)
	}
	return nil, false
}

// take gives c one of some places. A new connection counts as idle until a whole
// request header has come.
func (l *Listener) take(c *conn, p *places) (evicted *conn, taken bool) {
	if p.taken == p.most {
		longest := p.idle.Front()
		if longest == nil {
			return nil, false
		}
		evicted = longest.Value.(*conn)
		l.leave(evicted)
	}
	c.places, c.idle = p, p.idle.PushBack(c)
	p.taken++
	if p == &l.general {
		l.held[c.address]++
	}
	return evicted, true
}

// leave frees the place of c, if it still has one.
func (l *Listener) leave(c *conn) {
	l.endHeader(c)
	p := c.places
	if p == nil {
		return
	}
	c.setIdle(false)
	c.places = nil
	p.taken--
	if p != &l.general {
		return
	}
	if l.held[c.address]--; l.held[c.address] == 0 {
		delete(l.held, c.address)
	}
}

// ConnState is for the http.Server's field of that name.
func (l *Listener) ConnState(of net.Conn, state http.ConnState) {
	if secure, ok := of.(interface{ NetConn() net.Conn }); ok {
		of = secure.NetConn()
	}
	c, ours := of.(*conn)
	if !ours {
		return
	}
	switch state {
	case http.StateActive, http.StateIdle:
		c.awaitsHeader.Store(state == http.StateIdle)
		l.mu.Lock()
		defer l.mu.Unlock()
		if state == http.StateActive {
			l.endHeader(c)
		}
		if c.places == &l.general { // a reserved place is nobody's for long
			c.setIdle(state == http.StateIdle)
		}
	}
}

// addHeader counts bytes of a header that c has read, and returns the connection
// that is to be closed for them, if any.
func (l *Listener) addHeader(c *conn, n int) (evicted *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := max(c.header, freeHeader)
	c.header += n
	if c.header <= freeHeader || c.places == nil {
		return nil
	}
	l.headers += c.header - before
	if c.reading == nil {
		c.reading = l.reading.PushBack(c)
	}
	if l.headers <= l.options.MaxHeaders {
		return nil
	}
	evicted = l.reading.Front().Value.(*conn)
	l.leave(evicted)
	return evicted
}

// endHeader forgets the bytes of a header that is complete, or will not be.
func (l *Listener) endHeader(c *conn) {
	if c.reading != nil {
		l.reading.Remove(c.reading)
		l.headers -= c.header - freeHeader
	}
	c.header, c.reading = 0, nil
}

// conn is a connection that has a place until it is closed or evicted. Its fields
// are the Listener's, under its lock.
type conn struct {
	*net.TCPConn
	listener *Listener
	address  netip.Prefix
	places   *places       // nil once it has none
	idle     *list.Element // in places.idle, or nil

	awaitsHeader atomic.Bool   // a whole header has not come yet
	header       int           // bytes of it that have
	reading      *list.Element // in Listener.reading, or nil
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 && c.awaitsHeader.Load() {
		if evicted := c.listener.addHeader(c, n); evicted != nil {
			_ = evicted.TCPConn.Close() // it is nobody's any more
		}
	}
	return n, err
}

func (c *conn) setIdle(idle bool) {
	if c.places == nil || idle == (c.idle != nil) {
		return
	}
	if idle {
		c.idle = c.places.idle.PushBack(c)
		return
	}
	c.places.idle.Remove(c.idle)
	c.idle = nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.mu.Lock()
	c.listener.leave(c)
	c.listener.mu.Unlock()
	return c.TCPConn.Close()
}
