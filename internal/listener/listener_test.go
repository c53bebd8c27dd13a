package listener

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serve serves "ok" on all addresses of the loopback network, and on /wait after
// the test has ended.
func serve(t *testing.T, options Options) (*Listener, string) {
	t.Helper()
	tcp, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(t, err)
	l := New(tcp.(*net.TCPListener), options)
	routes := http.NewServeMux()
	routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	routes.HandleFunc("/wait", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := &http.Server{Handler: routes, ConnState: l.ConnState}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	_, port, err := net.SplitHostPort(tcp.Addr().String())
	require.NoError(t, err)
	return l, "127.0.0.1:" + port
}

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, source, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}).Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// responds reports whether a request gets a response over a connection.
func responds(t *testing.T, c net.Conn) bool {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		return false
	}
	var text [512]byte
	n, err := c.Read(text[:])
	return err == nil && strings.HasPrefix(string(text[:n]), "HTTP/1.1 200")
}

// awaitClosed waits until the server has closed a connection.
func awaitClosed(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is still open")
}

// occupy connects from an address and keeps a request under way.
func occupy(t *testing.T, l *Listener, source, address string) {
	t.Helper()
	open, idle := l.open(), l.idleConnections()
	_, err := io.WriteString(dialFrom(t, source, address), "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.open() == open+1 && l.idleConnections() == idle },
		5*time.Second, time.Millisecond)
}

func (l *Listener) idleConnections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.general.idle.Len()
}

func (l *Listener) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.general.taken + l.reserved.taken
}

func awaitOpen(t *testing.T, l *Listener, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return l.open() == want }, 5*time.Second, time.Millisecond)
}

func TestListener_BoundsTheConnectionsOfAnAddress(t *testing.T) {
	t.Parallel()
	l, address := serve(t, Options{Max: 10, MaxPerAddress: 2, Reserved: 1})
	first, second := dialFrom(t, "127.0.0.2", address), dialFrom(t, "127.0.0.2", address)
	awaitOpen(t, l, 2)
	third := dialFrom(t, "127.0.0.2", address) // the reserved place
	awaitOpen(t, l, 3)
	assert.True(t, responds(t, dialFrom(t, "127.0.0.2", address)), "in the reserved place")
	awaitClosed(t, third)
	assert.True(t, responds(t, first))
	assert.True(t, responds(t, second))
	assert.True(t, responds(t, dialFrom(t, "127.0.0.3", address)), "another address")

	require.NoError(t, second.Close())
	awaitOpen(t, l, 3)
	assert.True(t, responds(t, dialFrom(t, "127.0.0.2", address)), "in the place of one that ended")
}

func TestListener_DoesNotBoundAProxy(t *testing.T) {
	t.Parallel()
	l, address := serve(t, Options{
		Max: 10, MaxPerAddress: 1, Reserved: 1, Unlimited: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")},
	})
	for range 5 {
		assert.True(t, responds(t, dialFrom(t, "127.0.9.9", address)))
	}
	assert.Equal(t, 5, l.open())
	assert.Zero(t, l.reserved.taken)
}

func TestListener_ClosesTheLongestIdleForANewOne(t *testing.T) {
	t.Parallel()
	l, address := serve(t, Options{Max: 3, MaxPerAddress: 3, Reserved: 1})
	occupy(t, l, "127.0.0.2", address)
	silent := dialFrom(t, "127.0.0.3", address)
	awaitOpen(t, l, 2)
	kept := dialFrom(t, "127.0.0.4", address)
	awaitOpen(t, l, 3)

	assert.True(t, responds(t, dialFrom(t, "127.0.0.5", address)))
	awaitClosed(t, silent)
	assert.True(t, responds(t, kept), "it was idle for less long")
	assert.True(t, responds(t, dialFrom(t, "127.0.0.6", address)))
	assert.True(t, responds(t, kept), "it was idle for less long since it sent a request")
	assert.Equal(t, 3, l.open())
}

func TestListener_KeepsPlacesForThisMachine(t *testing.T) {
	t.Parallel()
	l, address := serve(t, Options{Max: 2, MaxPerAddress: 2, Reserved: 2})
	occupy(t, l, "127.0.0.2", address)
	occupy(t, l, "127.0.0.3", address)
	for range 5 { // neither silent nor busy ones fill the reserved places for good
		_ = dialFrom(t, "127.0.0.2", address)
		_, _ = io.WriteString(dialFrom(t, "127.0.0.2", address), "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
	}
	assert.True(t, responds(t, dialFrom(t, "127.0.0.1", address)))
	assert.Equal(t, 4, l.open())
}

// A test cannot connect from the address of a stranger, so there is no socket.
func TestListener_KeepsNoPlacesForStrangers(t *testing.T) {
	t.Parallel()
	l, address := serve(t, Options{Max: 1, MaxPerAddress: 1, Reserved: 1})
	occupy(t, l, "127.0.0.2", address)
	evicted, admitted := l.admit(&conn{listener: l}, netip.MustParseAddr("192.0.2.1"))
	assert.Nil(t, evicted)
	assert.False(t, admitted)
}

func TestListener_ServesOthersDuringAFlood(t *testing.T) {
	t.Parallel()
	l, address := serve(t, Options{Max: 200, MaxPerAddress: 50, Reserved: 10})
	for range 400 {
		_ = dialFrom(t, "127.0.0.2", address)
	}
	for source := range 10 { // slow ones, from many addresses
		for range 40 {
			_, _ = io.WriteString(dialFrom(t, fmt.Sprint("127.0.1.", source), address), "GET / HTTP/1.1\r\nX-Slow: ")
		}
	}
	var slow atomic.Int64
	for range 200 {
		start := time.Now()
		assert.True(t, responds(t, dialFrom(t, "127.0.0.3", address)))
		if time.Since(start) > 50*time.Millisecond {
			slow.Add(1)
		}
	}
	assert.LessOrEqual(t, slow.Load(), int64(2), "p99")
	assert.LessOrEqual(t, l.open(), 210)
}

func TestListener_BoundsHeadersThatDoNotEnd(t *testing.T) {
	t.Parallel()
	const size, fit = 2 * freeHeader, 3
	l, address := serve(t, Options{Max: 20, MaxPerAddress: 20, Reserved: 1, MaxHeaders: fit * (size - freeHeader)})
	const line = "X: y\r\n"
	start := "GET / HTTP/1.1\r\nHost: test\r\n"
	part := start + strings.Repeat("x", size-len(start))
	send := func() net.Conn {
		c := dialFrom(t, "127.0.0.2", address)
		_, err := io.WriteString(c, part)
		require.NoError(t, err)
		return c
	}
	awaitReading := func(want int) {
		t.Helper()
		require.Eventually(t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.reading.Len() == want && l.headers == want*(size-freeHeader)
		}, 5*time.Second, time.Millisecond)
	}
	var open []net.Conn
	for i := range fit {
		open = append(open, send())
		awaitReading(i + 1)
	}
	assert.True(t, responds(t, dialFrom(t, "127.0.0.3", address)), "a small header does not count")
	more := send()
	awaitClosed(t, open[0])
	awaitReading(fit)

	require.NoError(t, open[1].Close())
	awaitReading(fit - 1)
	_, err := io.WriteString(more, ": y\r\n"+line+"\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(more), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, response.StatusCode, "a header that is complete does not count")
	awaitReading(fit - 2)
	assert.True(t, responds(t, more))
	awaitReading(fit - 2)
}
