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
	l, err := openProxy(server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(l.close)
	return l
}

func dial(t *testing.T, l *proxy) *net.TCPConn {
	t.Helper()
	connection, err := net.Dial("tcp", l.address())
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(echoTimeout)))
	return connection.(*net.TCPConn)
}

// refuses checks that a new connection is broken, at once or soon.
func refuses(t *testing.T, l *proxy) {
	t.Helper()
	connection, err := net.Dial("tcp", l.address())
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
	l := echoThroughProxy(t)
	before := dial(t, l)
	echo(t, before, "a")
	l.set(conditions{Cut: true})
	_, err := before.Read(make([]byte, 1))
	require.Error(t, err)

	refuses(t, l)

	l.set(conditions{})
	echo(t, dial(t, l), "b")
}

func TestProxy_DelayHoldsEachDirectionUp(t *testing.T) {
	l := echoThroughProxy(t)
	l.set(conditions{Delay: 60 * time.Millisecond})
	assert.GreaterOrEqual(t, echo(t, dial(t, l), "a"), 120*time.Millisecond)
}

func TestProxy_ThrottleIsNoFasterThanItShould(t *testing.T) {
	l := echoThroughProxy(t)
	l.set(conditions{BytesPerSecond: 100_000})
	assert.GreaterOrEqual(t, echo(t, dial(t, l), string(make([]byte, 10_000))), 200*time.Millisecond)
}

func TestProxy_HoldsEverythingAndLetsItGoAfterwards(t *testing.T) {
	for name, hole := range map[string]conditions{
		"both directions": {HoldToServer: true, HoldToClient: true},
		"the responses":   {HoldToClient: true},
		"the requests":    {HoldToServer: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := echoThroughProxy(t)
			before := dial(t, l)
			echo(t, before, "a")
			l.set(hole)
			during := dial(t, l)
			for _, connection := range []net.Conn{before, during} {
				_, err := io.WriteString(connection, "b")
				require.NoError(t, err)
				silent(t, connection)
			}
			l.set(conditions{})
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
	l := echoThroughProxy(t)
	connection := dial(t, l)
	l.set(conditions{HoldToServer: true, HoldToClient: true})
	_, err := io.WriteString(connection, "a")
	require.NoError(t, err)
	l.close() // must return
	_, err = connection.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestProxy_RefusesWhileTheServerIsDown(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l, err := openProxy(server.Addr().String())
	require.NoError(t, err)
	t.Cleanup(l.close)
	require.NoError(t, server.Close())
	refuses(t, l)
}
