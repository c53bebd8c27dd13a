package handlers

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/mappage"
	"tracklane/store"
)

const (
	defaultFlights = 50
	maxFlights     = 200
)

// routeReading returns what routes the reading of stored points. Operators may read
// where their endpoints are.
func (s *Server) routeReading(operators bool) func(*gin.Engine) {
	return func(router *gin.Engine) {
		if s.config.Flights == nil {
			return
		}
		router.GET("/flights", s.reading(operators, s.getFlights))
		router.GET("/flights/:id", s.reading(operators, s.getFlight))
		router.GET("/flights/:id/track", s.reading(operators, s.getTrack))
		router.GET("/live/stream", s.reading(operators, s.getLiveStream))
		forAll := func(c *gin.Context) { s.config.Map.ServeHTTP(c.Writer, c.Request) }
		forReaders := s.readingOf(operators, unlimited, func(c *gin.Context, _ reader) { forAll(c) })
		router.GET("/map", forReaders)
		router.GET("/map/*path", func(c *gin.Context) {
			if c.Request.URL.Path == mappage.TilesPath {
				forReaders(c)
			} else {
				forAll(c)
			}
		})
		for _, path := range []string{"/openapi.json", "/docs", "/docs/*path"} {
			router.GET(path, gin.WrapH(s.description))
		}
	}
}

// limiting says whether requests with a good token count against its limit.
type limiting bool

const (
	limited   limiting = true
	unlimited limiting = false // of parts of a page, which come by the dozen
)

// reading lets those through who may read.
func (s *Server) reading(operators bool, handle func(*gin.Context, reader)) gin.HandlerFunc {
	return s.readingOf(operators, limited, handle)
}

// readingOf is reading with a limit or without one.
func (s *Server) readingOf(operators bool, counted limiting, handle func(*gin.Context, reader)) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header("Cache-Control", "private, no-cache")
		c.Header("X-Content-Type-Options", "nosniff")
		who, problem := s.authorizeReader(c, operators, counted, time.Now())
		if problem != nil {
			problem.write(c, nil)
			return
		}
		who.sender = addressSender(c)
		handle(c, who)
	}
}

// reader is who reads: what of the stored points is shown to it.
type reader struct {
	pilot, race string // empty = anybody's
	delay       time.Duration
	operator    bool   // who may see what was refused, too
	sender      string // of which few queries are under way at once
}

// authorizeReader returns what the client may read: an operator everything, and a
// token with the scope read what its claims leave.
func (s *Server) authorizeReader(c *gin.Context, operators bool, counted limiting, now time.Time) (reader, *problem) {
	access := s.config.Access
	operator := reader{operator: true}
	if access.Tokens == nil {
		return operator, nil
	}
	_, _, basic := c.Request.BasicAuth()
	token := tokenOf(c.Request)
	if basic && strings.Count(token, ".") != 2 { // a password and no token
		if !operators {
			return reader{}, unauthorized(c, "Send a token here. Operators read at their own address.")
		}
		return operator, s.checkOperator(c)
	}
	var claims *auth.Claims
	refused := unauthorizedReader(c, "Send a token with the scope read, or log in as an operator.")
	if token != "" && len(c.Request.Header["Authorization"]) <= 1 {
		var err error
		if claims, err = access.Tokens.Verify(token, now); err != nil {
			if basic && operators { // a password may look like a token
				return operator, s.checkOperator(c)
			}
			refused = unauthorizedReader(c, sentence(err.Error()))
		} else if refused = nil; !claims.Allows(auth.ReadScope) {
			refused = &problem{Status: http.StatusForbidden, Title: "Not allowed", Detail: "The token does not allow to read."}
		}
	}
	if counted == limited || refused != nil {
		if problem := s.limitToken(c, claims, refused, now); problem != nil {
			return reader{}, problem
		}
	}
	return reader{pilot: claims.Pilot, race: claims.Race, delay: claims.Delay}, nil
}

// unauthorizedReader lets a browser ask for the operators' password.
func unauthorizedReader(c *gin.Context, detail string) *problem {
	p := unauthorized(c, detail)
	c.Writer.Header().Add("WWW-Authenticate", `Basic realm="tracklane", charset="UTF-8"`)
	return p
}

// isText reports whether PostgreSQL takes a value as text.
func isText(value string) bool { return utf8.ValidString(value) && !strings.ContainsRune(value, 0) }

// errElsewhere is the error of a query for what the reader may not see.
var errElsewhere = errors.New("the reader may not see that pilot or race")

// scope returns what of the stored points a request asks for and its reader may
// see. The error is an errElsewhere, or for the client.
func (s *Server) scope(query url.Values, who reader, now time.Time) (store.Scope, error) {
	scope := store.Scope{Lane: query.Get("lane"), Pilot: who.pilot, Race: who.race, Sender: who.sender}
	if scope.Lane != "" && !slices.Contains(s.config.Flights.Lanes(), scope.Lane) {
		return scope, fmt.Errorf("lane must be one of %s", strings.Join(s.config.Flights.Lanes(), ", "))
	}
	if scope.Search = query.Get("q"); !isText(scope.Search) {
		return scope, errors.New("q must be UTF-8 without a NUL character")
	}
	for name, into := range map[string]*string{"pilot_id": &scope.Pilot, "race_id": &scope.Race} {
		asked := query.Get(name)
		if asked != "" && *into != "" && asked != *into {
			return scope, errElsewhere
		}
		if !isText(asked) {
			return scope, fmt.Errorf("%s must be UTF-8 without a NUL character", name)
		}
		if asked != "" {
			*into = asked
		}
	}
	for name, into := range map[string]*time.Time{"from": &scope.From, "to": &scope.To} {
		if text := query.Get(name); text != "" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return scope, fmt.Errorf("%s must be a time with its zone, such as 2026-07-14T10:15:30Z (a + of a zone is %%2B)", name)
			}
			*into = at
		}
	}
	if who.delay > 0 {
		scope.Until = now.Add(-who.delay)
	}
	return scope, nil
}

// flightList is the response of GET /flights.
type flightList struct {
	Flights []flightJSON `json:"flights"`

	// NextCursor is where the list goes on; it is not there at its end.
	NextCursor string `json:"next_cursor,omitempty"`

	// Refused is what the dead-letter table has, the newest first; only operators
	// see it, with refused=true.
	Refused []refusedJSON `json:"refused,omitempty"`
}

// refusedJSON is what was refused of a flight; without an id, of unreadable payloads.
type refusedJSON struct {
	ID    string    `json:"id,omitempty"`
	Lane  string    `json:"lane"`
	Count int64     `json:"count"`
	Error string    `json:"error"`
	Last  time.Time `json:"last"`
}

// flightJSON is a flight as clients see it. Units are metres, m/s and degrees.
type flightJSON struct {
	ID          string   `json:"id"`
	Lane        string   `json:"lane"`
	PilotID     *string  `json:"pilot_id"`
	RaceID      *string  `json:"race_id"`
	DeviceID    *string  `json:"device_id"`
	FirstFix    fixJSON  `json:"first_fix"`
	LastFix     fixJSON  `json:"last_fix"`
	Points      int64    `json:"points"`
	MaxAltitude *float64 `json:"max_altitude"`
	Distance    float64  `json:"distance"`

	// ReceivedAt is when the last of the points came.
	ReceivedAt time.Time `json:"received_at"`
}

type fixJSON struct {
	Datetime           time.Time `json:"datetime"`
	Lat                float64   `json:"lat"`
	Lon                float64   `json:"lon"`
	Elevation          *float64  `json:"elevation"`
	BarometricAltitude *float64  `json:"barometric_altitude"`
	Speed              *float64  `json:"speed"`
	Heading            *float64  `json:"heading"`
}

func newFlightJSON(f store.Flight) flightJSON {
	j := flightJSON{
		ID: f.ID, Lane: f.Lane, PilotID: orNull(f.Pilot), RaceID: orNull(f.Race), DeviceID: orNull(f.Device),
		FirstFix: newFixJSON(f.First), LastFix: newFixJSON(f.Last), Points: f.Points, ReceivedAt: f.Received.UTC(),
	}
	if f.MaxAltitude != nil {
		j.MaxAltitude = finite(*f.MaxAltitude)
	}
	if distance := finite(f.Distance); distance != nil {
		j.Distance = math.Round(*distance*10) / 10
	}
	return j
}

func newFixJSON(f lane.Fix) fixJSON {
	return fixJSON{
		Datetime: lane.TimeOf(f.Time), Lat: f.Lat, Lon: f.Lon, Elevation: finite(f.Elevation),
		BarometricAltitude: finite(f.BarometricAltitude), Speed: finite(f.Speed), Heading: finite(f.Heading),
	}
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// finite returns a number that JSON can hold, or nil.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// getFlights handles GET /flights: a page for a browser, and JSON for others.
func (s *Server) getFlights(c *gin.Context, who reader) {
	c.Writer.Header().Add("Vary", "Accept")
	if c.NegotiateFormat(gin.MIMEJSON, gin.MIMEHTML) == gin.MIMEHTML {
		s.config.Map.ServeFlights(c.Writer, c.Request)
		return
	}
	query := c.Request.URL.Query()
	scope, err := s.scope(query, who, time.Now())
	list := flightList{Flights: []flightJSON{}}
	if errors.Is(err, errElsewhere) {
		s.respondTagged(c, list)
		return
	}
	var after *store.Cursor
	if text := query.Get("cursor"); text != "" && err == nil {
		after, err = parseCursor(text)
	}
	limit := defaultFlights
	if text := query.Get("limit"); text != "" && err == nil {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxFlights {
			err = fmt.Errorf("limit must be from 1 to %d", maxFlights)
		}
	}
	if err != nil {
		badQuery(err).write(c, nil)
		return
	}
	flights, next, err := s.config.Flights.Flights(c.Request.Context(), scope, after, limit)
	if err != nil {
		s.readProblem(c, err).write(c, nil)
		return
	}
	if who.operator && query.Get("refused") == "true" {
		list.Refused = s.refused(c)
	}
	for _, f := range flights {
		list.Flights = append(list.Flights, newFlightJSON(f))
	}
	if next != nil {
		list.NextCursor = formatCursor(*next)
	}
	s.respondTagged(c, list)
}

// refused is what the dead-letter table has. The flights are shown without it where it
// cannot be read: the database's user may lack the right.
func (s *Server) refused(c *gin.Context) (list []refusedJSON) {
	flights, err := s.config.Flights.RefusedFlights(c.Request.Context())
	if err != nil && c.Request.Context().Err() == nil {
		s.config.Logger.Warn("the points that were refused cannot be read", "request_id", requestID(c), "error", err)
	}
	for _, f := range flights {
		list = append(list, refusedJSON{f.ID, f.Lane, f.Points, f.Error, f.Last.UTC()})
	}
	return list
}

// getFlight handles GET /flights/{id}.
func (s *Server) getFlight(c *gin.Context, who reader) {
	scope, err := s.scope(c.Request.URL.Query(), who, time.Now())
	if err != nil {
		s.readProblem(c, asQueryError(err)).write(c, nil)
		return
	}
	scope.From, scope.To = time.Time{}, time.Time{}
	flight, err := s.config.Flights.Flight(c.Request.Context(), flightID(c), scope)
	if err != nil {
		s.readProblem(c, err).write(c, nil)
		return
	}
	s.respondTagged(c, newFlightJSON(flight))
}

// flightID is the flight of the request's path. No flight has an id with a NUL
// character or one that is not UTF-8, which the database would refuse.
func flightID(c *gin.Context) string {
	id := c.Param("id")
	if c.Request.URL.RawPath != "" { // an id with a slash comes as %2F
		if plain, err := url.PathUnescape(id); err == nil {
			id = plain
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(id, "\uFFFD"), "\x00", "\uFFFD")
}

// queryError is an error in a request's query.
type queryError struct{ error }

func asQueryError(err error) error {
	if errors.Is(err, errElsewhere) {
		return store.ErrNoFlight
	}
	return queryError{err}
}

// readProblem is the problem of a request that cannot be answered.
func (s *Server) readProblem(c *gin.Context, err error) *problem {
	var query queryError
	switch {
	case errors.As(err, &query):
		return badQuery(err)
	case errors.Is(err, store.ErrNoFlight):
		return &problem{Status: http.StatusNotFound, Title: "No such flight", Detail: "There is no such flight, or not for this token."}
	}
	if c.Request.Context().Err() == nil {
		s.config.Logger.Warn("stored points cannot be read", "path", c.Request.URL.Path, "request_id", requestID(c), "error", err)
	}
	return &problem{
		Status: http.StatusServiceUnavailable, Title: "Flights cannot be read now",
		Detail: "The database did not answer in time. Try again after the time in Retry-After.",
	}
}

func badQuery(err error) *problem {
	return &problem{Status: http.StatusBadRequest, Title: "Bad query", Detail: sentence(err.Error())}
}

// respondTagged responds with JSON and its ETag, or with 304 to a client that has it.
func (s *Server) respondTagged(c *gin.Context, value any) {
	text, err := json.Marshal(value)
	if err != nil { // finite numbers and strings always marshal
		panic(err)
	}
	if notModified(c, tagOf(text)) {
		return
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", append(text, '\n'))
}

// formatCursor and parseCursor write and read a place in the list of flights. It
// holds nothing that the list has not shown.

func formatCursor(cursor store.Cursor) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursor.Day.Format(time.DateOnly) + "\n" + cursor.Lane + "\n" + cursor.ID))
}

func parseCursor(text string) (*store.Cursor, error) {
	bad := errors.New("cursor must be a next_cursor of a response")
	plain, err := base64.RawURLEncoding.DecodeString(text)
	parts := strings.SplitN(string(plain), "\n", 3)
	if err != nil || len(parts) != 3 || !isText(string(plain)) {
		return nil, bad
	}
	day, err := time.Parse(time.DateOnly, parts[0])
	if err != nil {
		return nil, bad
	}
	return &store.Cursor{Day: day, Lane: parts[1], ID: parts[2]}, nil
}
