package handlers

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/trackexport"
	"tracklane/store"
)

// trackRequest is what a client asks of a track.
type trackRequest struct {
	scope    store.Scope
	format   trackexport.Format
	simplify float64 // tolerance in metres; 0 = every point
}

func (s *Server) trackRequest(query url.Values, who reader) (r trackRequest, err error) {
	if r.scope, err = s.scope(query, who, time.Now()); err != nil {
		return r, asQueryError(err)
	}
	r.format = trackexport.Formats()[0]
	if name := query.Get("format"); name != "" {
		var found bool
		if r.format, found = trackexport.Find(name); !found {
			return r, queryError{fmt.Errorf("format must be one of %s", strings.Join(trackexport.Names(), ", "))}
		}
	}
	if text := query.Get("simplify"); text != "" {
		r.simplify, err = strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(r.simplify) || r.simplify < 0 || r.simplify > maxSimplify {
			return r, queryError{fmt.Errorf("simplify must be a number of metres from 0 to %d", maxSimplify)}
		}
	}
	return r, nil
}

const (
	maxSimplify = 10_000

	// trackWriteTimeout is how long a client may take for a part of a track. A
	// track as a whole may take longer than other responses.
	trackWriteTimeout = time.Minute
)

// getTrack handles GET /flights/{id}/track.
func (s *Server) getTrack(c *gin.Context, who reader) {
	ctx := c.Request.Context()
	request, err := s.trackRequest(c.Request.URL.Query(), who)
	var ref store.FlightRef
	var state store.TrackState
	if err == nil {
		ref, err = s.config.Flights.Find(ctx, flightID(c), request.scope)
	}
	if err == nil {
		state, err = s.config.Flights.TrackState(ctx, ref, request.scope)
	}
	if err == nil && state.Points == 0 {
		err = store.ErrNoFlight
	}
	if err != nil {
		s.readProblem(c, err).write(c, nil)
		return
	}
	c.Header("Content-Type", request.format.MediaType)
	if notModified(c, tagOf(fmt.Appendln(nil, trackVersion, ref.Lane, ref.ID, who.pilot, who.race, request.scope.Pilot, request.scope.Race,
		request.format.Name, request.simplify, state.Points, state.First.UnixMicro(), state.Last.UnixMicro()))) {
		return
	}
	c.Header("Content-Disposition", `attachment; filename="`+request.format.FileName(ref.ID)+`"`)
	s.streamTrack(c, ref, request)
}

// trackVersion is part of a track's ETag. It is changed with what the formats write.
const trackVersion = 1

// streamTrack writes a track as it is read. A failure in the middle cuts the
// connection off: the client sees that the file is not whole.
func (s *Server) streamTrack(c *gin.Context, ref store.FlightRef, request trackRequest) {
	fixes := trackexport.Fixes(s.config.Flights.Track(c.Request.Context(), ref, request.scope))
	if request.simplify > 0 {
		fixes = trackexport.Simplify(fixes, request.simplify)
	}
	flight := trackexport.Flight{ID: ref.ID, Lane: ref.Lane, Pilot: ref.Pilot, Race: ref.Race}
	control := http.NewResponseController(c.Writer)
	err := request.format.Write(&patientWriter{c.Writer, control}, flight, fixes)
	if err == nil {
		return
	}
	if c.Request.Context().Err() == nil {
		s.config.Logger.Warn("a track was cut off", "lane", ref.Lane, "request_id", requestID(c), "error", err)
	}
	_ = control.SetWriteDeadline(time.Unix(1, 0)) // the end of the response cannot be written
}

// patientWriter gives each part of a response its own time.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *patientWriter) Write(part []byte) (int, error) {
	// A writer without deadlines, as in a test, needs none.
	if err := w.control.SetWriteDeadline(time.Now().Add(trackWriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.ResponseWriter.Write(part)
}
