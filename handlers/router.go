// Package handlers answers tracklane's HTTP requests.
package handlers

import (
	"bytes"
	"log/slog"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"tracklane/lane"
	"tracklane/metrics"
	"tracklane/store"
	"tracklane/tasks"
)

// Options is what the handlers need to know besides the parts they call.
type Options struct {
	// FlymasterSecret checks the key that a Flymaster device sends; empty
	// means that the key is not checked.
	FlymasterSecret string
}

type server struct {
	options  Options
	enqueuer *tasks.Enqueuer
	writer   *store.Writer
	recorder *metrics.Recorder
	logger   *slog.Logger
	bodies   sync.Pool // of *bytes.Buffer
}

// NewAPI returns the handler of a process that takes points.
func NewAPI(lanes []*lane.Lane, enqueuer *tasks.Enqueuer, writer *store.Writer, recorder *metrics.Recorder, options Options, logger *slog.Logger) *gin.Engine {
	s := &server{options: options, enqueuer: enqueuer, writer: writer, recorder: recorder, logger: logger}
	s.bodies.New = func() any { return new(bytes.Buffer) }
	router := newRouter(logger)
	for _, l := range lanes {
		router.POST("/"+l.Name, s.postPoints(l))
	}
	return router
}

func newRouter(logger *slog.Logger) *gin.Engine {
	router := gin.New()
	router.HandleMethodNotAllowed = true
	router.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, cause any) {
		logger.Error("a request failed", "path", c.Request.URL.Path, "request_id", requestID(c), "panic", cause)
		internal := problem{Status: http.StatusInternalServerError, Title: "Internal error",
			Detail: "Nothing of this request is certain to be stored. Send it again."}
		internal.send(c, nil)
	}))
	router.NoRoute(func(c *gin.Context) {
		(&problem{Status: http.StatusNotFound, Title: "Not found"}).send(c, nil)
	})
	router.NoMethod(func(c *gin.Context) {
		(&problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed"}).send(c, nil)
	})
	return router
}
