package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"
)

// serveDebug serves pprof on DEBUG_ADDR until ctx ends. An address that cannot
// be listened on is logged and does not stop the program.
func (p *Program) serveDebug(ctx context.Context) {
	routes := http.NewServeMux()
	routes.HandleFunc("/debug/pprof/", pprof.Index)
	routes.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	routes.HandleFunc("/debug/pprof/profile", pprof.Profile)
	routes.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	routes.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Addr: p.config.DebugAddr, Handler: routes, ReadHeaderTimeout: headerTimeout}
	defer context.AfterFunc(ctx, func() {
		deadline, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(deadline) != nil {
			_ = server.Close() // a profile that is being taken ends here
		}
	})()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		p.logger.Error("pprof is not served", "address", p.config.DebugAddr, "error", err)
	}
}
