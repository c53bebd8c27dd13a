// Package handlers handles tracklane's HTTP requests.
package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"tracklane/asynqmon"
	"tracklane/internal/apidoc"
	"tracklane/internal/lane"
	"tracklane/internal/livestream"
	"tracklane/internal/mappage"
	"tracklane/internal/metrics"
	"tracklane/internal/network"
	"tracklane/internal/status"
	"tracklane/internal/statuspage"
	"tracklane/store"
	"tracklane/tasks"
)

// Config is what a Server calls. All of it is required but Access and Ingest.
type Config struct {
	Status   *status.Collector
	Recorder *metrics.Recorder
	Asynqmon http.Handler // the queues' web UI, at asynqmon.RootPath
	Logger   *slog.Logger

	// Access says who may do what.
	Access Access

	// OperatorsApart leaves the operators' endpoints and the probes to Operators.
	OperatorsApart bool

	// Ingest accepts the points of the lanes. In a process that accepts none it
	// is nil, and the server then has no lanes.
	Ingest *Ingest

	// Flights reads stored points. In a process that shows none it is nil.
	Flights *store.Reader

	// Live streams points as they are stored. It comes with Flights.
	Live *livestream.Hub

	// Map shows what Live streams. It comes with Flights.
	Map *mappage.Page
}

// Ingest is what a process needs that accepts points.
type Ingest struct {
	Lanes    []*lane.Lane
	Enqueuer *tasks.Enqueuer
	Bypass   *tasks.Bypass // of points that Redis does not accept
}

// Server handles HTTP requests. Any number of goroutines may use it at the same
// time.
type Server struct {
	config Config
	router http.Handler

	operators   http.Handler // nil unless apart
	page        *statuspage.Page
	description *apidoc.Page
	budget      *budget             // of the memory of requests
	uploads     *semaphore.Weighted // of files, at the same time

	uploadShares shares // of the senders in uploads

	uploadBounds uploadBounds

	senders  *rateLimiter
	underWay atomic.Int64 // requests
	streams  atomic.Int64 // those of HTTP/2

	streamShares shares // of the addresses in streams

	stopping atomic.Bool
	probes   probes

	rejectedLog *rate.Limiter // of the log lines about what apps send
}

// New returns the server of a process: of its probes, of the operators'
// endpoints, and of the lanes where there is an Ingest. It starts nothing.
func New(config Config) *Server {
	s := &Server{config: config, budget: newBudget(), uploads: semaphore.NewWeighted(maxUploads),
		uploadBounds: uploadBounds{points: 10_000_000, stored: 2 << 30}, rejectedLog: rate.NewLimiter(1, 10), description: apidoc.New(),
		senders: newRateLimiter(config.Access.RateLimit, config.Access.RateBurst)}
	s.page = statuspage.New(s.pageSnapshot, config.Logger)
	clients := func(router *gin.Engine) {
		s.routeLanes(router)
		s.routeReading(!config.OperatorsApart)(router)
	}
	s.router = s.newRouter(clients, s.routeOperators)
	if config.OperatorsApart {
		none := func(*gin.Engine) {}
		s.router, s.operators = s.newRouter(clients, none), s.newRouter(s.routeReading(true), s.routeOperators)
	}
	return s
}

// Operators handles the operators' endpoints and the probes where they are apart;
// elsewhere it is nil.
func (s *Server) Operators() http.Handler { return s.operators }

// Run updates the operators' page until ctx ends. ctx must end before the HTTP
// server that uses s is shut down: the shutdown waits for open pages.
func (s *Server) Run(ctx context.Context) { s.page.Run(ctx) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.underWay.Add(-1)
	tooMany := s.underWay.Add(1) > maxRequests
	if s.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	if r.ProtoMajor == 2 {
		leave, ok := s.enterStream(r.RemoteAddr)
		defer leave()
		tooMany = tooMany || !ok
	}
	if tooMany || len(r.Header) > maxHeaderFields {
		r.Header = http.Header{} // whatever holds the request does not hold these
		w.Header().Set("Connection", "close")
		if tooMany {
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
		return
	}
	s.router.ServeHTTP(w, withoutPathToken(r))
}

const (
	// maxHeaderFields is how many different fields the header of a request may have:
	// each takes some 100 bytes, however short it is.
	maxHeaderFields = 64

	// maxRequests is how many requests are under way.
	maxRequests = 5000

	// maxStreams is how many of them are of HTTP/2, which makes more of them than
	// there are connections. Each takes some 40 kB.
	maxStreams = 2000
)

// enterStream reports whether there is room for another request of HTTP/2 from an
// address: it has as many under way as it may have connections, at the most. leave
// must be called at the end of the request.
func (s *Server) enterStream(from string) (leave func(), ok bool) {
	address, _ := netip.ParseAddrPort(from) // what has none shares the zero one
	client := address.Addr().Unmap()
	limit := s.config.Access.MaxPerAddress
	if limit == 0 || network.Contains(s.config.Access.TrustedProxies, client) {
		limit = maxStreams
	}
	sender := network.OfClient(client).String()
	if !s.streamShares.acquire(sender, limit) {
		return func() {}, false
	}
	leave = func() {
		s.streams.Add(-1)
		s.streamShares.release(sender)
	}
	return leave, s.streams.Add(1) <= maxStreams
}

// newRouter returns a router of the routes for clients, which web pages of other
// origins may call if Access says so, and of those for operators, which they may
// not.
func (s *Server) newRouter(routeClients, routeOperators func(*gin.Engine)) *gin.Engine {
	router := gin.New()
	router.HandleMethodNotAllowed = true
	router.RedirectTrailingSlash = false                       // a redirect would lose the token of /t/TOKEN/live/
	router.UseRawPath, router.UnescapePathValues = true, false // see flightID
	router.RemoteIPHeaders = []string{"X-Forwarded-For"}
	var proxies []string
	for _, network := range s.config.Access.TrustedProxies {
		proxies = append(proxies, network.String())
	}
	if err := router.SetTrustedProxies(proxies); err != nil { // networks are always read
		panic(err)
	}
	router.Use(gin.CustomRecoveryWithWriter(nil, s.recovered))
	router.NoRoute(func(c *gin.Context) {
		(&problem{Status: http.StatusNotFound, Title: "Not found"}).write(c, nil)
	})
	router.NoMethod(func(c *gin.Context) {
		(&problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed"}).write(c, nil)
	})
	shared := newCORS(s.config.Access.Origins)
	if len(shared.origins) > 0 {
		router.Use(shared.allow)
	}
	routeClients(router)
	if len(shared.origins) > 0 {
		shared.share(router)
	}
	routeOperators(router)
	return router
}

func (s *Server) routeOperators(router *gin.Engine) {
	router.GET("/livez", s.getLive)
	router.GET("/readyz", s.getReady)
	router.GET("/health", s.getHealth)
	operators := router.Group("", s.requireOperator)
	operators.GET("/metrics", gin.WrapH(s.config.Recorder.Handler()))
	operators.GET("/queue/status", s.getQueueStatus)
	operators.Any(asynqmon.RootPath, s.requireOwnHost, gin.WrapH(s.config.Asynqmon))
	operators.Any(asynqmon.RootPath+"/*path", s.requireOwnHost, gin.WrapH(s.config.Asynqmon))
	for _, path := range []string{"/", "/events", "/page/*path"} {
		operators.GET(path, gin.WrapH(s.page))
	}
}

func (s *Server) routeLanes(router *gin.Engine) {
	if ingest := s.config.Ingest; ingest != nil {
		for _, l := range ingest.Lanes {
			handler := s.postPoints(ingest, l)
			if l.Files {
				handler = s.postUpload(ingest, l)
			}
			router.POST("/"+l.Name, handler)
			if l.Name == "flymaster" { // where devices that are set up for the system before post
				router.POST("/flymaster/upload/file", s.postPoints(ingest, l))
			}
			if l.Name == "live" {
				s.routeTrackers(router, ingest, l)
			}
		}
	}
}

func (s *Server) recovered(c *gin.Context, cause any) {
	s.config.Logger.Error("a request failed", "path", c.Request.URL.Path, "request_id", requestID(c), "panic", cause)
	internal := problem{
		Status: http.StatusInternalServerError, Title: "Internal error",
		Detail: "Nothing of this request is certain to be stored. Send it again.",
	}
	internal.write(c, nil)
}
