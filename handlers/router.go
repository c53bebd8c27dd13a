// Package handlers answers tracklane's HTTP requests.
package handlers

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/semaphore"

	"tracklane/asynqmon"
	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/internal/statuspage"
	"tracklane/store"
	"tracklane/tasks"
)

// Parts is what the handlers call, and what they need to know.
type Parts struct {
	Lanes     []*lane.Lane
	Enqueuer  *tasks.Enqueuer // nil in a process that takes no points
	Writer    *store.Writer
	Database  *store.Database
	Inspector *tasks.Inspector
	Recorder  *metrics.Recorder
	Asynqmon  http.Handler // the queues' web UI, at asynqmon.RootPath
	Logger    *slog.Logger

	// Weights is how often each queue is served, by lane.
	Weights map[string]int

	// Version of the program.
	Version string
}

// Server answers HTTP requests with its parts. Any number of goroutines may use
// it at the same time.
type Server struct {
	Parts
	router   http.Handler
	page     *statuspage.Page
	started  time.Time
	bodies   sync.Pool // of *bytes.Buffer
	budget   *semaphore.Weighted
	observer observer
}

// New returns the server of a process: what probes and operators ask for, and
// the lanes where there is an enqueuer.
func New(parts Parts) *Server {
	s := &Server{Parts: parts, started: time.Now(), budget: semaphore.NewWeighted(bodyBudget)}
	s.bodies.New = func() any { return new(bytes.Buffer) }
	s.page = statuspage.New(s.snapshot, parts.Logger)
	parts.Recorder.Register(newGauges(s))
	s.router = s.newRouter()
	return s
}

// Run keeps the figures of the operators' page moving until ctx ends. It must
// end before the server that uses s is shut down, or that waits for open pages.
func (s *Server) Run(ctx context.Context) { s.page.Run(ctx) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

func (s *Server) newRouter() *gin.Engine {
	router := gin.New()
	router.HandleMethodNotAllowed = true
	router.Use(gin.CustomRecoveryWithWriter(nil, s.recovered))
	router.NoRoute(func(c *gin.Context) {
		(&problem{Status: http.StatusNotFound, Title: "Not found"}).send(c, nil)
	})
	router.NoMethod(func(c *gin.Context) {
		(&problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed"}).send(c, nil)
	})
	router.GET("/livez", s.getLive)
	router.GET("/readyz", s.getReady)
	router.GET("/health", s.getHealth)
	router.GET("/metrics", gin.WrapH(s.Recorder.Handler()))
	router.GET("/queue/status", s.getQueueStatus)
	router.Any(asynqmon.RootPath, gin.WrapH(s.Asynqmon))
	router.Any(asynqmon.RootPath+"/*path", gin.WrapH(s.Asynqmon))
	for _, path := range []string{"/", "/events", "/page/*path"} {
		router.GET(path, gin.WrapH(s.page))
	}
	if s.Enqueuer != nil {
		for _, l := range s.Lanes {
			router.POST("/"+l.Name, s.postPoints(l))
		}
	}
	return router
}

func (s *Server) recovered(c *gin.Context, cause any) {
	s.Logger.Error("a request failed", "path", c.Request.URL.Path, "request_id", requestID(c), "panic", cause)
	internal := problem{
		Status: http.StatusInternalServerError, Title: "Internal error",
		Detail: "Nothing of this request is certain to be stored. Send it again.",
	}
	internal.send(c, nil)
}
