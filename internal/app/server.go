package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The limits of one HTTP request. A phone with a bad connection sends slowly: its
// request may take a minute, but the headers must come at once. The response is
// written when the points are stored, at the latest, and whoever does not read it
// is cut off. The streams of server-sent events have a limit of their own.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = time.Minute
	writeTimeout   = 2 * time.Minute // from the end of the header
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// headerSlack is how much more than its MaxHeaderBytes net/http reads.
const headerSlack = 4 << 10

// maxStreams is how many requests are under way on one HTTP/2 connection.
const maxStreams = 100

// newServer returns a server with the limits above.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes - headerSlack,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// startServer serves HTTP until the server is shut down.
func (p *Program) startServer(r *run, handler http.Handler) *http.Server {
	server := newServer(handler, p.logger)
	server.ConnState = p.listener.ConnState
	serve := server.Serve
	if p.files != nil {
		server.TLSConfig = p.files.Config()
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	r.parts.Go(func() {
		if err := serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			r.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	})
	return server
}
