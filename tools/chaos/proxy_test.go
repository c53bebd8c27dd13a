package main

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const echoTimeout = 10 * time.Second

// echoThroughProxy returns a proxy to a server that sends back what it gets.
func echoThroughProxy(t *testing.T) *proxy {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			connection, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				_, _ = io.Copy(connection, connection) // ends with the connection
			}()
		}
	}()
	p, err := openProxy(server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(p.close)
	return p
}

func dial(t *testing.T, p *proxy) *net.TCPConn {
	t.Helper()
	connection, err := net.Dial("tcp", p.address())
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(echoTimeout)))
	return connection.(*net.TCPConn)
}

// refuses checks that a new connection is broken, at once or soon.
func refuses(t *testing.T, p *proxy) {
	t.Helper()
	connection, err := net.Dial("tcp", p.address())
	if err == nil {
		defer connection.Close()
		require.NoError(t, connection.SetDeadline(time.Now().Add(echoTimeout)))
		_, err = connection.Read(make([]byte, 1))
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.Error(t, err)
}

// echo sends text and returns how long it took to come back.
func echo(t *testing.T, connection net.Conn, text string) time.Duration {
	t.Helper()
	start := time.Now()
	_, err := io.WriteString(connection, text)
	require.NoError(t, err)
	response := make([]byte, len(text))
	_, err = io.ReadFull(connection, response)
	require.NoError(t, err)
	require.Equal(t, text, string(response))
	return time.Since(start)
}

// silent checks that nothing arrives on a connection for a while.
func silent(t *testing.T, connection net.Conn) {
	t.Helper()
	require.NoError(t, connection.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err := connection.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "%v", err)
	require.NoError(t, connection.SetReadDeadline(time.Now().Add(echoTimeout)))
}

func TestProxy_PassesOnWhatBothSidesSendAndTheirEnds(t *testing.T) {
	connection := dial(t, echoThroughProxy(t))
	echo(t, connection, "a")
	echo(t, connection, string(make([]byte, 5*proxyBuffer/4)))
	require.NoError(t, connection.CloseWrite())
	rest, err := io.ReadAll(connection)
	require.NoError(t, err)
	assert.Empty(t, rest)
}

func TestProxy_CutBreaksConnectionsAndRefusesNewOnes(t *testing.T) {
	p := echoThroughProxy(t)
	before := dial(t, p)
	echo(t, before, "a")
	p.set(conditions{Cut: true})
	_, err := before.Read(make([]byte, 1))
	require.Error(t, err)

	refuses(t, p)

	p.set(conditions{})
	echo(t, dial(t, p), "b")
}

func TestProxy_DelayHoldsEachDirectionUp(t *testing.T) {
	p := echoThroughProxy(t)
	p.set(conditions{Delay: 60 * time.Millisecond})
	assert.GreaterOrEqual(t, echo(t, dial(t, p), "a"), 120*time.Millisecond)
}

func TestProxy_ThrottleIsNoFasterThanItShould(t *testing.T) {
	p := echoThroughProxy(t)
	p.set(conditions{BytesPerSecond: 100_000})
	assert.GreaterOrEqual(t, echo(t, dial(t, p), string(make([]byte, 10_000))), 200*time.Millisecond)
}

func TestProxy_HoldsEverythingAndLetsItGoAfterwards(t *testing.T) {
	for name, hole := range map[string]conditions{
		"both directions": {HoldToServer: true, HoldToClient: true},
		"the responses":   {HoldToClient: true},
		"the requests":    {HoldToServer: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := echoThroughProxy(t)
			before := dial(t, p)
			echo(t, before, "a")
			p.set(hole)
			during := dial(t, p)
			for _, connection := range []net.Conn{before, during} {
				_, err := io.WriteString(connection, "b")
				require.NoError(t, err)
				silent(t, connection)
			}
			p.set(conditions{})
			for _, connection := range []net.Conn{before, during} {
				response := make([]byte, 1)
				_, err := io.ReadFull(connection, response)
				require.NoError(t, err)
				require.Equal(t, "b", string(response))
			}
		})
	}
}

func TestProxy_CloseEndsWhileItHoldsConnections(t *testing.T) {
	p := echoThroughProxy(t)
	connection := dial(t, p)
	p.set(conditions{HoldToServer: true, HoldToClient: true})
	_, err := io.WriteString(connection, "a")
	require.NoError(t, err)
	p.close() // must return
	_, err = connection.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestProxy_RefusesWhileTheServerIsDown(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p, err := openProxy(server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(p.close)
	require.NoError(t, server.Close())
	refuses(t, p)
}

func TestProxy_LeadsToAnotherServerAndEndsTheConnectionsToTheOldOne(t *testing.T) {
	t.Parallel()
	p, other := echoThroughProxy(t), echoThroughProxy(t)
	old := dial(t, p)
	_, err := old.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(old, make([]byte, 1))
	require.NoError(t, err)

	p.redirect(other.address())
	_, err = old.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	other.set(conditions{Cut: true})
	refuses(t, p)
	other.set(conditions{})
	fresh := dial(t, p)
	_, err = fresh.Write([]byte("y"))
	require.NoError(t, err)
	_, err = io.ReadFull(fresh, make([]byte, 1))
	require.NoError(t, err)
}
