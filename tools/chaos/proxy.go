package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"tracklane/internal/clock"
)

// conditions are what a proxy does to what passes through it. The zero value lets
// everything through as it comes.
type conditions struct {
	// Cut ends each connection with a reset and refuses new ones.
	Cut bool

	// Delay holds each piece up, in both directions.
	Delay time.Duration

	// BytesPerSecond, when it is not 0, is how fast each direction of each
	// connection is.
	BytesPerSecond int

	// HoldToServer and HoldToClient hold everything in that direction for as long
	// as the conditions last. What was held goes on its way afterwards, as TCP would
	// send it again, whether or not the other side still waits for it.
	HoldToServer, HoldToClient bool
}

const (
	// proxyBuffer is the largest piece that a proxy passes on at once.
	proxyBuffer = 16 << 10

	// maxProxyConnections bounds what a proxy carries; more are refused.
	maxProxyConnections = 500

	proxyDialTimeout = 2 * time.Second
)

// proxy is a TCP proxy in front of one server for one client of it.
type proxy struct {
	listener net.Listener
	done     sync.WaitGroup
	context  context.Context
	cancel   context.CancelFunc

	mu          sync.Mutex
	server      string // its address
	conditions  conditions
	changed     chan struct{} // closed when the conditions change
	connections map[*net.TCPConn]struct{}
}

// openProxy listens on a free port of the loopback interface and passes
// connections on to the server at an address. The server need not be there.
func openProxy(server string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy to %s: %w", server, err)
	}
	p := &proxy{
		listener: listener, server: server,
		changed:     make(chan struct{}),
		connections: make(map[*net.TCPConn]struct{}),
	}
	p.context, p.cancel = context.WithCancel(context.Background())
	p.done.Go(p.accept)
	return p, nil
}

// address is where clients connect.
func (p *proxy) address() string { return p.listener.Addr().String() }

// set changes the conditions.
func (p *proxy) set(c conditions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conditions = c
	close(p.changed)
	p.changed = make(chan struct{})
	if c.Cut {
		for connection := range p.connections {
			reset(connection)
		}
	}
}

// redirect lets the proxy lead to another server. Every connection to the old one
// ends.
func (p *proxy) redirect(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
	for connection := range p.connections {
		reset(connection)
	}
}

// close ends the proxy and every connection on it.
func (p *proxy) close() {
	p.cancel()
	p.listener.Close()
	p.set(conditions{Cut: true})
	p.done.Wait()
}

func (p *proxy) now() (conditions, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conditions, p.changed
}

func (p *proxy) leadsTo() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

func (p *proxy) accept() {
	for {
		accepted, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of files, say: it passes
			clock.Sleep(p.context, 10*time.Millisecond)
			continue
		}
		client := accepted.(*net.TCPConn)
		if !p.add(client) {
			reset(client)
			continue
		}
		p.done.Go(func() { p.carry(client) })
	}
}

// add takes a connection into care, unless the conditions or the number of
// connections forbid it.
func (p *proxy) add(connection *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conditions.Cut || len(p.connections) >= 2*maxProxyConnections {
		return false
	}
	p.connections[connection] = struct{}{}
	return true
}

func (p *proxy) remove(connection *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, connection)
}

// carry passes on what client and server say until both have ended, or either
// connection broke.
func (p *proxy) carry(client *net.TCPConn) {
	defer p.remove(client)
	dialer := net.Dialer{Timeout: proxyDialTimeout}
	dialled, err := dialer.DialContext(p.context, "tcp", p.leadsTo())
	if err != nil {
		reset(client)
		return
	}
	server := dialled.(*net.TCPConn)
	if !p.add(server) {
		reset(client)
		reset(server)
		return
	}
	defer p.remove(server)

	var directions sync.WaitGroup
	directions.Go(func() {
		p.pump(server, client, func(c conditions) bool { return c.HoldToServer })
	})
	directions.Go(func() {
		p.pump(client, server, func(c conditions) bool { return c.HoldToClient })
	})
	directions.Wait()
	client.Close()
	server.Close()
}

// pump passes on what source says until it has ended.
func (p *proxy) pump(destination, source *net.TCPConn, held func(conditions) bool) {
	buffer := make([]byte, proxyBuffer)
	for {
		n, err := source.Read(buffer)
		if n > 0 {
			if !p.delayOrDrop(n, held) {
				reset(source)
				reset(destination)
				return
			}
			if _, err := destination.Write(buffer[:n]); err != nil {
				reset(source)
				reset(destination)
				return
			}
		}
		if errors.Is(err, io.EOF) && p.delayOrDrop(0, held) {
			destination.CloseWrite()
			return
		}
		if err != nil {
			reset(source)
			reset(destination)
			return
		}
	}
}

// delayOrDrop returns when the conditions let a piece of n bytes pass, or false
// when it never will.
func (p *proxy) delayOrDrop(n int, held func(conditions) bool) bool {
	for {
		now, changed := p.now()
		switch {
		case now.Cut || p.context.Err() != nil:
			return false
		case held(now):
			<-changed // close changes the conditions, too
			continue
		}
		pause := now.Delay
		if now.BytesPerSecond > 0 {
			pause += time.Duration(n) * time.Second / time.Duration(now.BytesPerSecond)
		}
		if pause > 0 {
			timer := time.NewTimer(pause)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-changed: // other conditions end the wait; a cut, the connection
				now, _ = p.now()
				return !now.Cut
			}
		}
		return true
	}
}

// reset ends a connection so that the other side gets an error, not an end.
func reset(connection *net.TCPConn) {
	connection.SetLinger(0)
	connection.Close()
}
