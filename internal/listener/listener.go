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
}

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
		l.mu.Lock()
		defer l.mu.Unlock()
		if c.places == &l.general { // a reserved place is nobody's for long
			c.setIdle(state == http.StateIdle)
		}
	}
}

// conn is a connection that has a place until it is closed or evicted. Its fields
// are the Listener's, under its lock.
type conn struct {
	*net.TCPConn
	listener *Listener
	address  netip.Prefix
	places   *places       // nil once it has none
	idle     *list.Element // in places.idle, or nil
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
