package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// weather is what a link does to what passes through it. The zero value lets
// everything through as it comes.
type weather struct {
	// Cut ends each connection with a reset and refuses new ones.
	Cut bool

	// Delay holds each piece up, in both directions.
	Delay time.Duration

	// BytesPerSecond, when it is not 0, is how fast each direction of each
	// connection is.
	BytesPerSecond int

	// ToServer and ToClient hold everything in that direction for as long as
	// the weather lasts. What was held goes on its way afterwards, as TCP would
	// send it again, whether or not the other side still waits for it.
	HoldToServer, HoldToClient bool
}

const (
	// linkBuffer is the largest piece that a link passes on at once.
	linkBuffer = 16 << 10

	// maxLinkConnections bounds what a link carries; more are refused.
	maxLinkConnections = 500

	linkDialTimeout = 2 * time.Second
)

// link is a TCP proxy in front of one server for one client of it.
type link struct {
	listener net.Listener
	server   string
	done     sync.WaitGroup
	context  context.Context
	cancel   context.CancelFunc

	mu          sync.Mutex
	weather     weather
	changed     chan struct{} // closed when the weather changes
	connections map[*net.TCPConn]struct{}
}

// openLink listens on a free port of the loopback interface and passes
// connections on to the server at an address. The server need not be there.
func openLink(server string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the link to %s: %w", server, err)
	}
	l := &link{
		listener: listener, server: server,
		changed:     make(chan struct{}),
		connections: make(map[*net.TCPConn]struct{}),
	}
	l.context, l.cancel = context.WithCancel(context.Background())
	l.done.Go(l.accept)
	return l, nil
}

// address is where clients connect.
func (l *link) address() string { return l.listener.Addr().String() }

// set changes the weather.
func (l *link) set(w weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather = w
	close(l.changed)
	l.changed = make(chan struct{})
	if w.Cut {
		for connection := range l.connections {
			reset(connection)
		}
	}
}

// close ends the link and every connection on it.
func (l *link) close() {
	l.cancel()
	l.listener.Close()
	l.set(weather{Cut: true})
	l.done.Wait()
}

func (l *link) now() (weather, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.weather, l.changed
}

func (l *link) accept() {
	for {
		accepted, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of files, say: it passes
			sleep(l.context, 10*time.Millisecond)
			continue
		}
		client := accepted.(*net.TCPConn)
		if !l.add(client) {
			reset(client)
			continue
		}
		l.done.Go(func() { l.carry(client) })
	}
}

// add takes a connection into care, unless the weather or the number of
// connections forbids it.
func (l *link) add(connection *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.weather.Cut || len(l.connections) >= 2*maxLinkConnections {
		return false
	}
	l.connections[connection] = struct{}{}
	return true
}

func (l *link) remove(connection *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.connections, connection)
}

// carry passes on what client and server say until both have ended, or either
// connection broke.
func (l *link) carry(client *net.TCPConn) {
	defer l.remove(client)
	dialer := net.Dialer{Timeout: linkDialTimeout}
	dialled, err := dialer.DialContext(l.context, "tcp", l.server)
	if err != nil {
		reset(client)
		return
	}
	server := dialled.(*net.TCPConn)
	if !l.add(server) {
		reset(client)
		reset(server)
		return
	}
	defer l.remove(server)

	var directions sync.WaitGroup
	directions.Go(func() {
		l.pump(server, client, func(w weather) bool { return w.HoldToServer })
	})
	directions.Go(func() {
		l.pump(client, server, func(w weather) bool { return w.HoldToClient })
	})
	directions.Wait()
	client.Close()
	server.Close()
}

// pump passes on what source says until it has ended.
func (l *link) pump(destination, source *net.TCPConn, held func(weather) bool) {
	buffer := make([]byte, linkBuffer)
	for {
		n, err := source.Read(buffer)
		if n > 0 {
			if !l.weatherOut(n, held) {
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
		if errors.Is(err, io.EOF) && l.weatherOut(0, held) {
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

// weatherOut returns when the weather lets a piece of n bytes pass, or false
// when it never will.
func (l *link) weatherOut(n int, held func(weather) bool) bool {
	for {
		now, changed := l.now()
		switch {
		case now.Cut || l.context.Err() != nil:
			return false
		case held(now):
			<-changed // close changes the weather too
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
			case <-changed: // better weather ends the wait; a cut, the connection
				now, _ = l.now()
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
