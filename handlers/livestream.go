package handlers

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/livestream"
)

// getLiveStream handles GET /live/stream.
func (s *Server) getLiveStream(c *gin.Context, who reader) {
	scope, err := s.scope(c.Request.URL.Query(), who, time.Now())
	if errors.Is(err, errElsewhere) {
		(&problem{Status: http.StatusForbidden, Title: "Not allowed", Detail: "The token does not allow to see that race or pilot."}).write(c, nil)
		return
	}
	if err != nil {
		badQuery(err).write(c, nil)
		return
	}
	view := livestream.View{Race: scope.Race, Pilot: scope.Pilot, Delay: who.delay}
	last := cmp.Or(c.GetHeader("Last-Event-ID"), c.Query("last_event_id")) // a page cannot send the header itself
	if err := s.config.Live.Serve(c.Writer, c.Request, view, last); err != nil {
		s.liveProblem(c, err).write(c, nil)
	}
}

func (s *Server) liveProblem(c *gin.Context, err error) *problem {
	p := &problem{Status: http.StatusServiceUnavailable, Title: "No live stream now", Detail: "Try again after the time in Retry-After."}
	if errors.Is(err, livestream.ErrFull) {
		p.Detail = sentence(err.Error())
	} else if c.Request.Context().Err() == nil {
		s.config.Logger.Warn("a live stream cannot be served", "request_id", requestID(c), "error", err)
	}
	return p
}
