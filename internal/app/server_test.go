package app

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewServer_BoundsHeaders(t *testing.T) {
	t.Parallel()
	server := newServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { assert.NoError(t, server.Close()) })

	const start, end = "GET / HTTP/1.1\r\nHost: test\r\n", "\r\n"
	for _, test := range []struct {
		name   string
		header string
		want   int
	}{
		{"one of 16 kB", "X-Large: " + strings.Repeat("x", maxHeaderBytes-len(start)-len("X-Large: \r\n")-len(end)) + "\r\n", 200},
		{"a larger one", "X-Large: " + strings.Repeat("x", maxHeaderBytes) + "\r\n", 431},
		{"many small ones", strings.Repeat("X: y\r\n", maxHeaderBytes/6+1), 431},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			defer c.Close()
			_, err = io.WriteString(c, start+test.header+end)
			require.NoError(t, err)
			var version string
			var code int
			_, err = fmt.Fscan(c, &version, &code)
			require.NoError(t, err)
			assert.Equal(t, test.want, code)
		})
	}
}
