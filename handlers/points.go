package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/store"
)

// directTimeout bounds the writing of one request's points straight into the
// database.
const directTimeout = 5 * time.Second

// retryAfter is what a client is told to wait when nothing takes its points,
// in seconds.
const retryAfter = "5"

// postPoints answers the posts of one lane.
func (s *Server) postPoints(l *lane.Lane) gin.HandlerFunc {
	return func(c *gin.Context) {
		received := time.Now()
		defer func() { s.Recorder.Request(l, c.Writer.Status(), time.Since(received)) }()
		requestID := requestID(c)
		body, problem := s.readBody(c, l)
		if problem != nil {
			problem.send(c, l)
			return
		}
		decoded, err := decode(l, body, lane.DecodeOptions{Now: received, RequestID: requestID})
		if err != nil {
			decodeProblem(err).send(c, l)
			return
		}
		if decoded.RejectedTotal > 0 {
			s.Recorder.Rejected(l, decoded.RejectedTotal)
		}
		if decoded.Points.Len() == 0 {
			unusable(decoded).send(c, l)
			return
		}
		s.take(c, l, decoded)
	}
}

// decode reads a body's points and gives its memory back, even if that panics.
func decode(l *lane.Lane, b body, options lane.DecodeOptions) (lane.Decoded, error) {
	defer b.release()
	return l.Decode(b.Bytes(), options)
}

// take puts points into Redis or, when Redis does not take them, straight into
// the database. When neither does at once, Redis is asked again with more
// patience: one that is slow is better than a refusal.
func (s *Server) take(c *gin.Context, l *lane.Lane, decoded lane.Decoded) {
	ctx := c.Request.Context()
	points := decoded.Points.Len() // writing may drop duplicates from the list
	if s.Enqueuer.Enqueue(ctx, decoded.Points) == nil {
		s.queued(c, l, decoded, points)
		return
	}
	result, err := s.writeDirectly(ctx, decoded.Points)
	if err == nil {
		s.Recorder.Accepted(l, metrics.PathDirect, points)
		acceptance{
			status: "stored", points: points, decoded: &decoded,
			inserted: result.Inserted, duplicates: result.Duplicates, direct: true,
		}.send(c, l, http.StatusCreated)
		return
	}
	if enqueueErr := s.Enqueuer.EnqueueBypassingBreaker(ctx, decoded.Points); enqueueErr != nil {
		s.Logger.Error("neither Redis nor the database took points", "lane", l.Name, "points", points,
			"request_id", requestID(c), "database", err, "redis", enqueueErr)
		unavailable().send(c, l)
		return
	}
	s.queued(c, l, decoded, points)
}

func (s *Server) queued(c *gin.Context, l *lane.Lane, decoded lane.Decoded, points int) {
	s.Recorder.Accepted(l, metrics.PathQueue, points)
	acceptance{status: "queued", points: points, decoded: &decoded}.send(c, l, http.StatusAccepted)
}

// writeDirectly writes past Redis. The client's going away does not stop a
// write that has begun.
func (s *Server) writeDirectly(ctx context.Context, points *lane.Points) (store.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), directTimeout)
	defer cancel()
	return s.Writer.Write(ctx, points, "")
}

func decodeProblem(err error) *problem {
	var forbidden *lane.ForbiddenError
	if errors.As(err, &forbidden) {
		return &problem{Status: http.StatusForbidden, Title: "Not allowed", Detail: forbidden.Reason}
	}
	return &problem{Status: http.StatusBadRequest, Title: "Malformed body", Detail: err.Error()}
}

func unusable(decoded lane.Decoded) *problem {
	p := &problem{
		Status: http.StatusUnprocessableEntity, Title: "No usable point",
		Detail:   "The request holds no points.",
		Rejected: decoded.Rejected, RejectedTotal: decoded.RejectedTotal,
	}
	if p.RejectedTotal > 0 {
		p.Detail = `No point of this request can be stored; "rejected" says why.`
	}
	return p
}

func unavailable() *problem {
	return &problem{
		Status: http.StatusServiceUnavailable, Title: "Points cannot be taken now",
		Detail: "Nothing of this request is certain to be stored. Send all of it again after the time in Retry-After.",
	}
}
