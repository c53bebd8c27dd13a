package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"tracklane/internal/lane"
)

// Reader reads flights and their points. Any number of goroutines may use one at
// the same time; few of them are served at once, so that the writers have the
// other connections.
//
// No read holds a connection while its caller sends what it got: a track is read
// in pages.
type Reader struct {
	pool   *pgxpool.Pool
	tables map[string]*readPlan
	names  []string // of the lanes, most urgent first
	slots  *semaphore.Weighted
	own    turns // of each sender
}

// readPlan is how the points of one lane are read. Its texts are SQL.
type readPlan struct {
	lane                *lane.Lane
	table, track, at    string
	pilot, race, device string // columns; empty = the lane has none
	values              string // of a lane.Fix from its elevation on
	altitude            string
}

const (
	// maxReads is how many queries of readers are under way in one process.
	maxReads = 3

	// readTimeout bounds one query of a reader.
	readTimeout = 20 * time.Second

	// askedFlights is of how many flights facts are asked at once. Others get their
	// turn between them.
	askedFlights = 20

	// pagePoints is how many points a query reads.
	pagePoints = 5000
)

// NewReader returns a reader of the lanes' points.
func NewReader(pool *pgxpool.Pool, lanes []*lane.Lane) *Reader {
	reads := min(maxReads, max(1, int64(pool.Config().MaxConns)/3))
	r := &Reader{pool: pool, tables: make(map[string]*readPlan), slots: semaphore.NewWeighted(reads)}
	r.own.limit = max(1, reads-1) // a slot is left for the others
	for _, l := range lanes {
		r.names = append(r.names, l.Name)
		r.tables[l.Name] = newReadPlan(l)
	}
	return r
}

func newReadPlan(l *lane.Lane) *readPlan {
	columns := make(map[string]bool)
	for _, c := range l.Columns() {
		columns[c.Name] = true
	}
	p := &readPlan{lane: l, table: pgx.Identifier{l.Table}.Sanitize(), track: l.TrackColumns[0].Name, at: l.TimeColumn}
	first := func(names ...string) string {
		for _, name := range names {
			if columns[name] {
				return name
			}
		}
		return ""
	}
	p.pilot, p.race, p.device = first("pilot_id"), first("race_id"), first("device_id")
	elevation, pressure := first("gps_alt", "elevation"), first("barometric_altitude", "pressure_alt")
	values := []string{elevation, pressure, first("speed"), first("heading")}
	for i, name := range values {
		if values[i] = "NULL::float8"; name != "" {
			values[i] = name
		}
		if name == "speed" && l.SpeedKMH {
			values[i] = "speed / 3.6"
		}
	}
	p.values = strings.Join(values, ", ")
	p.altitude = "coalesce(" + values[0] + ", " + values[1] + ")"
	return p
}

// Lanes lists the names of the lanes, most urgent first.
func (r *Reader) Lanes() []string { return r.names }

// Scope is what of the stored points a reader may see, or wants to. The zero
// Scope is everything.
type Scope struct {
	Lane        string // empty = all lanes
	Pilot, Race string // of the points; empty = any

	// Search is a part of the flight's id, pilot or race, in upper or lower case;
	// empty = any. It is for a list of flights alone.
	Search string

	// From and To bound the points' times: From is the first, To is after the
	// last. A zero time is no bound.
	From, To time.Time

	// Until is the time after which nothing is shown; zero = no bound.
	Until time.Time

	// Sender is who asks, such as an address: it does not get all connections that
	// readers have. Empty = no bound.
	Sender string
}

// where returns the condition on points of a flight in the scope, with its
// parameters.
func (s Scope) where(p *readPlan, key any, days dayRange) (sql string, parameters []any) {
	from, to := days.first, days.last.AddDate(0, 0, 1)
	if s.From.After(from) {
		from = s.From
	}
	if !s.To.IsZero() && s.To.Before(to) {
		to = s.To
	}
	if !s.Until.IsZero() && s.Until.Before(to) {
		to = s.Until.Add(time.Microsecond)
	}
	sql = fmt.Sprintf("%s = $1::%s AND %s >= $2 AND %s < $3", p.track, p.lane.TrackColumns[0].Kind.SQLType(), p.at, p.at)
	parameters = []any{key, from, to}
	for _, c := range []struct{ column, value string }{{p.pilot, s.Pilot}, {p.race, s.Race}} {
		switch {
		case c.value == "":
		case c.column == "":
			sql += " AND false"
		default:
			parameters = append(parameters, c.value)
			sql += fmt.Sprintf(" AND %s = $%d", c.column, len(parameters))
		}
	}
	return sql, parameters
}

// dayRange is the first and the last day, in UTC, on which a flight has points.
type dayRange struct{ first, last time.Time }

// ErrNoFlight is returned when a scope has no points of a flight.
var ErrNoFlight = errors.New("no such flight")

// FlightRef names a flight of one lane, as far as a scope goes.
type FlightRef struct {
	Lane, ID string

	// Pilot and Race are empty where no point names one. Where points name several,
	// they are the last by name.
	Pilot, Race string

	days dayRange
	key  any // of its points
}

// Flight is what is known of a flight, or of the part of it that is in a scope.
type Flight struct {
	FlightRef

	// Device is that of the last point that names one, or empty.
	Device string

	First, Last lane.Fix
	Points      int64

	// MaxAltitude is in metres, by GNSS or, where a fix has none, by pressure;
	// nil if no fix has either.
	MaxAltitude *float64

	// Distance is the way from fix to fix on a sphere, in metres.
	Distance float64

	// Received is when the API accepted the last of the points that came.
	Received time.Time
}

// query works with one of the connections that readers have, for a sender as in
// Scope.
func (r *Reader) query(ctx context.Context, sender string, work func(context.Context, *pgxpool.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if sender != "" {
		done, err := r.own.take(ctx, sender)
		if err != nil {
			return fmt.Errorf("wait for other reads of the same sender: %w", err)
		}
		defer done()
	}
	if err := r.slots.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for other readers: %w", err)
	}
	defer r.slots.Release(1)
	connection, err := r.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a database connection: %w", err)
	}
	defer connection.Release()
	return work(ctx, connection)
}

// Find returns the flight with an id. The same id may be in several lanes: it is
// that of the scope's lane, or of the most urgent that has it. The error is an
// ErrNoFlight if there is none in the scope; a flight that is returned may have no
// points in it.
func (r *Reader) Find(ctx context.Context, id string, scope Scope) (FlightRef, error) {
	found := make(map[string]FlightRef)
	err := r.query(ctx, scope.Sender, func(ctx context.Context, connection *pgxpool.Conn) error {
		rows, err := connection.Query(ctx, `
			SELECT lane, min(day), max(day), max(pilot_id), max(race_id) FROM flights
			WHERE lane = ANY ($1) AND flight_id = $2 AND ($3 = '' OR pilot_id = $3) AND ($4 = '' OR race_id = $4)
			GROUP BY lane`, r.lanesOf(scope), id, scope.Pilot, scope.Race)
		if err != nil {
			return err
		}
		f := FlightRef{ID: id}
		_, err = pgx.ForEachRow(rows, []any{&f.Lane, &f.days.first, &f.days.last, &f.Pilot, &f.Race}, func() error {
			found[f.Lane] = f
			return nil
		})
		return err
	})
	if err != nil {
		return FlightRef{}, fmt.Errorf("look for flight %q: %w", id, err)
	}
	for _, name := range r.names {
		if f, ok := found[name]; ok {
			return r.withKey(f)
		}
	}
	return FlightRef{}, ErrNoFlight
}

func (r *Reader) lanesOf(scope Scope) []string {
	if scope.Lane == "" {
		return r.names
	}
	return []string{scope.Lane}
}

// withKey adds the key of the flight's points.
func (r *Reader) withKey(f FlightRef) (FlightRef, error) {
	f.key = f.ID
	p := r.tables[f.Lane]
	if p == nil {
		return FlightRef{}, fmt.Errorf("flight %q is of an unknown lane, %q", f.ID, f.Lane)
	}
	if p.lane.TrackColumns[0].Kind == lane.BigInt {
		serial, _, _ := cutLast(f.ID, "-")
		device, err := strconv.ParseInt(serial, 10, 64)
		if err != nil {
			return FlightRef{}, fmt.Errorf("flight %q names no device: %w", f.ID, err)
		}
		f.key = device
	}
	return f, nil
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// Flight returns a flight's facts. The error is an ErrNoFlight if the scope has no
// points of it.
func (r *Reader) Flight(ctx context.Context, id string, scope Scope) (Flight, error) {
	ref, err := r.Find(ctx, id, scope)
	if err != nil {
		return Flight{}, err
	}
	list, err := r.facts(ctx, []FlightRef{ref}, scope)
	if err != nil {
		return Flight{}, err
	}
	if len(list) == 0 {
		return Flight{}, ErrNoFlight
	}
	return list[0], nil
}

// factsQuery is the query of one flight's facts: a row, or none if the scope has
// no points of it. 6371008.8 m is the mean radius of the earth.
func factsQuery(p *readPlan, where string) string {
	last := func(column string) string {
		if column == "" {
			return "NULL::text"
		}
		return fmt.Sprintf("(SELECT %s::text FROM %s WHERE %s AND %s IS NOT NULL ORDER BY %s DESC LIMIT 1)",
			column, p.table, where, column, p.at)
	}
	end := func(name, direction string) string {
		return fmt.Sprintf("(SELECT %s AS at, lat, lon, %s FROM %s WHERE %s ORDER BY %s %s, lat %s, lon %s LIMIT 1) AS %s (at, lat, lon, a, b, c, d)",
			p.at, p.values, p.table, where, p.at, direction, direction, direction, name)
	}
	return fmt.Sprintf(`
		SELECT %s, first.*, last.*, total.* FROM %s, %s, (
			SELECT count(*), max(altitude), max(received_at), coalesce(sum(2 * 6371008.8 * asin(least(1, sqrt(
				sin(radians(lat - lat0) / 2) ^ 2 + cos(radians(lat0)) * cos(radians(lat)) * sin(radians(lon - lon0) / 2) ^ 2))))
				FILTER (WHERE lat0 IS NOT NULL), 0)
			FROM (SELECT lat, lon, received_at, %s AS altitude, lag(lat) OVER way AS lat0, lag(lon) OVER way AS lon0
				FROM %s WHERE %s WINDOW way AS (ORDER BY %s, lat, lon)) AS fixes
		) AS total`, last(p.device), end("first", "ASC"), end("last", "DESC"),
		p.altitude, p.table, where, p.at)
}

// facts returns the facts of flights, without those that the scope has no points of.
func (r *Reader) facts(ctx context.Context, refs []FlightRef, scope Scope) ([]Flight, error) {
	flights := make([]Flight, 0, len(refs))
	err := r.askEach(ctx, refs, scope, factsQuery, func(ref FlightRef, row pgx.Row) error {
		flight, err := scanFlight(ref, row)
		if err == nil {
			flights = append(flights, flight)
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the facts of %d flights: %w", len(refs), err)
	}
	return flights, nil
}

// askEach asks one question of each flight, of its points within the scope, in a
// round trip for askedFlights of them, and within readTimeout in all. query makes the
// statement of a lane's plan and the condition; scan is given the response's only row.
func (r *Reader) askEach(
	ctx context.Context, refs []FlightRef, scope Scope,
	query func(p *readPlan, where string) string, scan func(FlightRef, pgx.Row) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for some := range slices.Chunk(refs, askedFlights) {
		err := r.query(ctx, scope.Sender, func(ctx context.Context, connection *pgxpool.Conn) error {
			batch := &pgx.Batch{}
			for _, ref := range some {
				p := r.tables[ref.Lane]
				where, parameters := scope.where(p, ref.key, ref.days)
				batch.Queue(query(p, where), parameters...).QueryRow(func(row pgx.Row) error { return scan(ref, row) })
			}
			return connection.SendBatch(ctx, batch).Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func scanFlight(ref FlightRef, row pgx.Row) (Flight, error) {
	f := Flight{FlightRef: ref}
	var device *string
	var first, last fixRow
	into := append([]any{&device}, first.into()...)
	into = append(append(into, last.into()...), &f.Points, &f.MaxAltitude, &f.Received, &f.Distance)
	if err := row.Scan(into...); err != nil {
		return Flight{}, err
	}
	if device != nil {
		f.Device = *device
	}
	f.First, f.Last = first.fix(), last.fix()
	return f, nil
}

// Cursor is a place in the list of flights: behind the flight that it names.
type Cursor struct {
	Day      time.Time
	Lane, ID string
}

// Flights lists the flights of a scope that have points in it, those with the
// latest days first. It looks at no more than limit flights after the cursor, so
// that it may return fewer though there are more; next is nil at the end. The
// facts of each are those of all its points that the scope's pilot, race and Until
// let be seen, whatever From and To are.
func (r *Reader) Flights(ctx context.Context, scope Scope, after *Cursor, limit int) (flights []Flight, next *Cursor, err error) {
	refs, cursors, err := r.listed(ctx, scope, after, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("list flights: %w", err)
	}
	if len(refs) == limit {
		next = &cursors[limit-1]
	}
	if refs, err = r.inRange(ctx, refs, scope); err != nil {
		return nil, nil, err
	}
	whole := scope
	whole.From, whole.To = time.Time{}, time.Time{}
	flights, err = r.facts(ctx, refs, whole)
	return flights, next, err
}

// inRange leaves out the flights that have no point between the scope's From and To.
// Of those that are wholly within it, nothing is asked.
func (r *Reader) inRange(ctx context.Context, refs []FlightRef, scope Scope) ([]FlightRef, error) {
	if scope.From.IsZero() && scope.To.IsZero() || len(refs) == 0 {
		return refs, nil
	}
	kept := make([]FlightRef, 0, len(refs))
	exists := func(p *readPlan, where string) string {
		return fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s)", p.table, where)
	}
	err := r.askEach(ctx, refs, scope, exists, func(ref FlightRef, row pgx.Row) error {
		var found bool
		if err := row.Scan(&found); err != nil || !found {
			return err
		}
		kept = append(kept, ref)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look which of %d flights have points in a range of time: %w", len(refs), err)
	}
	return kept, nil
}

// listed reads a page of the directory. Of a flight with several rows, the last in
// the list's order that is in the scope stands for it; its days are those of all.
func (r *Reader) listed(ctx context.Context, scope Scope, after *Cursor, limit int) (refs []FlightRef, cursors []Cursor, err error) {
	statement, parameters := r.listStatement(scope, after, limit)
	err = r.query(ctx, scope.Sender, func(ctx context.Context, connection *pgxpool.Conn) error {
		rows, err := connection.Query(ctx, statement, parameters...)
		if err != nil {
			return err
		}
		var day time.Time
		var f FlightRef
		_, err = pgx.ForEachRow(rows, []any{&day, &f.Lane, &f.ID, &f.days.first, &f.days.last, &f.Pilot, &f.Race}, func() error {
			ref, err := r.withKey(f)
			refs, cursors = append(refs, ref), append(cursors, Cursor{day, f.Lane, f.ID})
			return err
		})
		return err
	})
	return refs, cursors, err
}

// listStatement makes the query of listed.
func (r *Reader) listStatement(scope Scope, after *Cursor, limit int) (statement string, parameters []any) {
	parameter := func(value any) string {
		parameters = append(parameters, value)
		return "$" + strconv.Itoa(len(parameters))
	}
	lanes := parameter(r.lanesOf(scope))
	own := "%[1]s.lane = ANY (" + lanes + "::text[])"
	if scope.Pilot != "" {
		own += " AND %[1]s.pilot_id = " + parameter(scope.Pilot) + "::text"
	}
	if scope.Race != "" {
		own += " AND %[1]s.race_id = " + parameter(scope.Race) + "::text"
	}
	rows := "" // what a row has that stands for its flight
	if !scope.From.IsZero() {
		rows += " AND %[1]s.day >= " + parameter(dayOf(scope.From)) + "::date"
	}
	if end := earliestOf(scope.To, scope.Until); !end.IsZero() {
		rows += " AND %[1]s.day <= " + parameter(dayOf(end)) + "::date"
	}
	if scope.Search != "" {
		text := parameter(scope.Search)
		rows += " AND strpos(lower(concat_ws(E'\\n', %[1]s.flight_id, %[1]s.pilot_id, %[1]s.race_id) COLLATE \"default\"), lower(" + text + "::text)) > 0"
	}
	in := func(table string) string { return fmt.Sprintf(own+rows, table) }
	all := fmt.Sprintf(own, "a")
	place := ""
	if after != nil {
		place = fmt.Sprintf(" AND (f.day, f.lane, f.flight_id) < (%s::date, %s::text, %s::text)",
			parameter(after.Day), parameter(after.Lane), parameter(after.ID))
	}
	return `
		SELECT f.day, f.lane, f.flight_id, whole.first, whole.last, whole.pilot, whole.race FROM flights AS f,
			LATERAL (SELECT min(day) AS first, max(day) AS last, max(pilot_id) AS pilot, max(race_id) AS race FROM flights AS a
				WHERE a.lane = f.lane AND a.flight_id = f.flight_id AND ` + all + `) AS whole
		WHERE ` + in("f") + place + `
			AND NOT EXISTS (SELECT FROM flights AS later WHERE later.lane = f.lane AND later.flight_id = f.flight_id
				AND (later.day, later.pilot_id, later.race_id) > (f.day, f.pilot_id, f.race_id) AND ` + in("later") + `)
		ORDER BY f.day DESC, f.lane DESC, f.flight_id DESC LIMIT ` + parameter(limit), parameters
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// earliestOf is the earliest of two times, of which a zero one does not count.
func earliestOf(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return cmp.Or(a, b)
	}
	if a.Before(b) {
		return a
	}
	return b
}
