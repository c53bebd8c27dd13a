package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tracklane/handlers"
	"tracklane/internal/config"
	"tracklane/internal/listener"
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

// maxStreams is how many requests are under way on one HTTP/2 connection, and
// streamBuffer how many bytes of their bodies are in memory before they are read.
const (
	maxStreams   = 8
	streamBuffer = 64 << 10
)

// newServer returns a server with the limits above.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes - headerSlack,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 16 << 10,
			MaxReceiveBufferPerConnection: streamBuffer, MaxReceiveBufferPerStream: streamBuffer,
		},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// listen listens on HTTP_ADDR and, if it is set, on OPERATOR_ADDR.
func listen(c config.Config) (public, operators *listener.Listener, err error) {
	options := listener.Options{
		Max: maxClients, MaxPerAddress: c.MaxConnectionsPerAddress, Reserved: reservedClients, MaxHeaders: maxHeaders,
		Unlimited: c.TrustedProxies,
	}
	if c.TLSCertFile != "" {
		options.Max = maxSecureClients
	}
	tcp, err := net.Listen("tcp", c.HTTPAddr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on HTTP_ADDR: %w", err)
	}
	public = listener.New(tcp.(*net.TCPListener), options)
	if c.OperatorAddr == "" {
		return public, nil, nil
	}
	if tcp, err = net.Listen("tcp", c.OperatorAddr); err != nil {
		_ = public.Close() // the other error is the one that counts
		return nil, nil, fmt.Errorf("listen on OPERATOR_ADDR: %w", err)
	}
	options.Max = maxOperators
	return public, listener.New(tcp.(*net.TCPListener), options), nil
}

// startServers serves HTTP until the servers are shut down. The operators' is nil
// where they have no address of their own.
func (p *Program) startServers(r *run, handler *handlers.Server) (public, operators *http.Server) {
	public = p.startServer(r, p.listener, handler)
	if p.operators != nil {
		operators = p.startServer(r, p.operators, handler.Operators())
	}
	return public, operators
}

// shutDown stops a server when its requests are answered, or cuts them off when ctx
// ends.
func (p *Program) shutDown(ctx context.Context, server *http.Server) {
	if err := server.Shutdown(ctx); err != nil {
		p.logger.Warn("requests were cut off", "error", err)
		_ = server.Close() // closes what Shutdown gave up on
	}
}

// startServer serves HTTP on one listener until the server is shut down.
func (p *Program) startServer(r *run, l *listener.Listener, handler http.Handler) *http.Server {
	server := newServer(handler, p.logger)
	server.ConnState = l.ConnState
	serve := server.Serve
	if p.files != nil {
		server.TLSConfig = p.files.Config()
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	r.servers.Go(func() {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			r.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	})
	return server
}
