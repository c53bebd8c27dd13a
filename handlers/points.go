package handlers

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/store"
)

// retryAfter is how long a client is told to wait when its points cannot be
// accepted, in seconds.
const retryAfter = "5"

// postPoints handles the posts to one lane.
func (s *Server) postPoints(ingest *Ingest, l *lane.Lane) gin.HandlerFunc {
	return s.forSenders(l, func(c *gin.Context, claims *auth.Claims, received time.Time) {
		s.acceptPoints(c, ingest, l, claims, received)
	})
}

// forSenders lets those handle a request who may post to a lane, and counts it.
func (s *Server) forSenders(l *lane.Lane, accept func(c *gin.Context, claims *auth.Claims, received time.Time)) gin.HandlerFunc {
	return func(c *gin.Context) {
		received := time.Now()
		defer func() { s.config.Recorder.Request(l, c.Writer.Status(), time.Since(received)) }()
		requestID(c)
		claims, problem := s.authorize(c, l, tokenOf(c.Request), received)
		if problem = s.limitToken(c, claims, problem, received); problem != nil {
			problem.write(c, l)
			return
		}
		accept(c, claims, received)
	}
}

// acceptPoints reads and stores the points of a body in a lane's own format, whose
// sender may post.
func (s *Server) acceptPoints(c *gin.Context, ingest *Ingest, l *lane.Lane, claims *auth.Claims, received time.Time) {
	body, problem := s.readBody(c, l, s.deviceCheck(c, l, received))
	defer body.release()
	if problem != nil {
		problem.write(c, l)
		return
	}
	space, done, problem := s.budget.takeTurn(c.Request.Context(), body.size)
	if problem != nil {
		problem.write(c, l)
		return
	}
	defer done()
	decoded, err := body.decode(l, space, lane.DecodeOptions{Now: received, RequestID: requestID(c)})
	if err != nil {
		decodeProblem(err).write(c, l)
		return
	}
	if problem := claim(decoded.Points, claims); problem != nil {
		problem.write(c, l)
		return
	}
	if decoded.RejectedTotal > 0 {
		s.config.Recorder.Rejected(l, decoded.RejectedTotal)
	}
	if decoded.Points.Len() == 0 {
		unusable(decoded).write(c, l)
		return
	}
	response, problem := s.ingest(c, ingest, l, &decoded)
	if problem != nil {
		problem.write(c, l)
		return
	}
	response.write(c, l)
}

// decode decodes the points and releases the body. They take the memory of those
// that were decoded in the same workspace before.
func (b *body) decode(l *lane.Lane, space *workspace, options lane.DecodeOptions) (lane.Decoded, error) {
	defer b.release()
	if space == nil {
		return l.Decode(b.text(nil), options)
	}
	options.Reuse = space.points
	space.points = nil // if it panics, they are not known
	decoded, err := l.Decode(b.text(space), options)
	space.points = decoded.Points
	return decoded, err
}

// ingest puts points into Redis or, when Redis does not accept them, directly
// into the database. When both refuse, it tries Redis once more with a longer
// timeout: a slow Redis is better than a refusal. It responds nothing; the problem
// is nil when points were accepted.
func (s *Server) ingest(c *gin.Context, ingest *Ingest, l *lane.Lane, decoded *lane.Decoded) (ingestResponse, *problem) {
	ctx := c.Request.Context()
	points := decoded.Points.Len() // writing may drop duplicates from the list
	if ingest.Enqueuer.Enqueue(ctx, decoded.Points) == nil {
		return s.queued(l, decoded, points), nil
	}
	result, err := ingest.Bypass.Write(ctx, decoded.Points)
	if err == nil || errors.Is(err, store.ErrNotKept) {
		return s.stored(c, l, decoded, result, err)
	}
	if redisErr := ingest.Enqueuer.EnqueueBypassingBreaker(ctx, decoded.Points); redisErr != nil {
		s.config.Logger.Error("neither Redis nor the database accepted points", "lane", l.Name, "points", points,
			"request_id", requestID(c), "database", err, "redis", redisErr)
		return ingestResponse{}, unavailable()
	}
	return s.queued(l, decoded, points), nil
}

func (s *Server) queued(l *lane.Lane, decoded *lane.Decoded, points int) ingestResponse {
	s.config.Recorder.Accepted(l, metrics.PathQueue, points)
	return ingestResponse{code: http.StatusAccepted, status: "queued", points: points, decoded: decoded}
}

// stored is the response to a request whose points are committed, but for those
// that the database refused: the response names these, and claims nothing for
// them. notKept is the error of keeping them in the dead-letter table, or nil.
func (s *Server) stored(c *gin.Context, l *lane.Lane, decoded *lane.Decoded, result store.Result, notKept error) (ingestResponse, *problem) {
	if len(result.Rejected) > 0 {
		for _, refusal := range result.Rejected {
			decoded.Refuse(refusal.Index, refusal.String())
		}
		s.config.Logger.Error("the database refused points of a request that bypassed Redis", "lane", l.Name,
			"request_id", requestID(c), "rejected", len(result.Rejected), "first", result.Rejected[0].String(),
			"kept", notKept == nil, "error", notKept)
	}
	points := result.Inserted + result.Duplicates
	if points == 0 {
		return ingestResponse{}, unusable(*decoded)
	}
	s.config.Recorder.Accepted(l, metrics.PathDirect, points)
	return ingestResponse{
		code: http.StatusCreated, status: "stored", points: points, decoded: decoded,
		inserted: result.Inserted, duplicates: result.Duplicates, direct: true,
	}, nil
}

func decodeProblem(err error) *problem {
	var forbidden *lane.ForbiddenError
	if errors.As(err, &forbidden) {
		return &problem{Status: http.StatusForbidden, Title: "Not allowed", Detail: forbidden.Reason}
	}
	var large *lane.TooLargeError
	if errors.As(err, &large) {
		return &problem{Status: http.StatusRequestEntityTooLarge, Title: "Too many points", Detail: large.Reason}
	}
	return malformed(err.Error())
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
