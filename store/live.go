package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// LivePoint is a stored point of the lane live. Fields that are NULL are empty, or
// NaN.
type LivePoint struct {
	lane.Flight
	lane.Fix
}

// LiveCursor is a place in the order of commits: each transaction before it had
// ended when LiveCursor returned it. It is a transaction id, with its epoch.
type LiveCursor uint64

const (
	// liveTail is how much of each flight LiveTails returns, and liveTailStep at
	// which distance its points are.
	liveTail     = 10*time.Minute + liveTailStep
	liveTailStep = 10 * time.Second

	// liveDay is how long after its last point LiveTails returns a flight.
	liveDay = 24 * time.Hour

	// maxLiveFlights is of how many flights, the last by id, the functions of this
	// file return points.
	maxLiveFlights = 2000
)

// LiveCursor returns the place that the database has reached: whoever reads points
// afterwards sees all that were committed before it.
func (r *Reader) LiveCursor(ctx context.Context) (cursor LiveCursor, err error) {
	err = r.query(ctx, "", func(ctx context.Context, connection *pgxpool.Conn) error {
		var xid int64
		err := connection.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint`).Scan(&xid)
		cursor = LiveCursor(xid)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read how far the database is: %w", err)
	}
	return cursor, nil
}

// LiveSince returns points of the lane live that were committed after a cursor of
// the same database, and some that were before: those of a scope, which has a From.
// There are no more than limit, those with the latest times, in the order of these.
//
// PostgreSQL keeps with each row the transaction that wrote it, so this finds what
// was committed late, too, which no time of receipt would. TimescaleDB drops that of a
// row that it compresses: those are found if they were received after a time, which is
// that of the cursor. The range of time is what bounds the work: it reads all of the
// scope's points in it.
func (r *Reader) LiveSince(ctx context.Context, cursor LiveCursor, received time.Time, scope Scope, limit int) ([]LivePoint, error) {
	points, err := r.liveSince(ctx, liveTable, cursor, scope, limit)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != pgerrcode.InvalidColumnReference {
		return points, err
	}
	chunks, err := r.compressedChunks(ctx, scope)
	if err != nil {
		return nil, err
	}
	points = nil
	take := func(more []LivePoint, failed error) {
		points = append(points, more...)
		err = errors.Join(err, failed)
	}
	from, end := scope.From, liveEnd(scope)
	between := func(from, to time.Time) Scope {
		part := scope
		part.From, part.To = from, to
		return part
	}
	for _, c := range chunks {
		last := earliestOf(c.end.Add(-time.Microsecond), end)
		before := c.start.Add(-time.Microsecond)
		if before.After(from) {
			take(r.liveSince(ctx, liveTable, cursor, between(from, before), limit))
			from = before
		}
		// What is written to a compressed chunk stays as it is until the chunk is
		// compressed again: these rows are what ONLY finds.
		take(r.liveSince(ctx, "ONLY "+c.table, cursor, between(from, last), limit))
		take(r.live(ctx, liveTable, between(from, last), ` AND p.received_at > $7`, latest, limit, received))
		from = last
	}
	if from.Before(end) {
		take(r.liveSince(ctx, liveTable, cursor, between(from, end), limit))
	}
	if err != nil {
		return nil, err
	}
	points = inOrder(points)
	return points[max(0, len(points)-limit):], nil
}

// inOrder returns points in the order of their times, each once.
func inOrder(points []LivePoint) []LivePoint {
	compare := func(a, b LivePoint) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Lat, b.Lat), cmp.Compare(a.Lon, b.Lon))
	}
	slices.SortFunc(points, compare)
	return slices.CompactFunc(points, func(a, b LivePoint) bool { return compare(a, b) == 0 })
}

const liveTable = "live_track_points"

func (r *Reader) liveSince(ctx context.Context, table string, cursor LiveCursor, scope Scope, limit int) ([]LivePoint, error) {
	// The server has no xid from a bigint; its order is a circle, which age knows.
	return r.live(ctx, table, scope, ` AND age(p.xmin) <= age($7::text::xid)`, latest, limit, strconv.FormatUint(uint64(uint32(cursor)), 10))
}

// compressedChunk is a chunk of the lane live, of a range of time.
type compressedChunk struct {
	table      string // as SQL has it
	start, end time.Time
}

// compressedChunks returns the compressed chunks with times of a scope, in their order.
func (r *Reader) compressedChunks(ctx context.Context, scope Scope) (chunks []compressedChunk, err error) {
	err = r.query(ctx, "", func(ctx context.Context, connection *pgxpool.Conn) error {
		rows, err := connection.Query(ctx, `SELECT format('%I.%I', chunk_schema, chunk_name), range_start, range_end
			FROM timescaledb_information.chunks
			WHERE hypertable_schema = 'public' AND hypertable_name = 'live_track_points' AND is_compressed
				AND range_end > $1 AND range_start <= $2 ORDER BY range_start`, scope.From, liveEnd(scope))
		if err != nil {
			return err
		}
		chunks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c compressedChunk, err error) {
			return c, row.Scan(&c.table, &c.start, &c.end)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look which live points are compressed: %w", err)
	}
	return chunks, nil
}

// LiveBetween returns the points of the lane live with times after the scope's From
// up to its To, in the order of their times, no more than limit.
func (r *Reader) LiveBetween(ctx context.Context, scope Scope, limit int) ([]LivePoint, error) {
	return r.live(ctx, liveTable, scope, "", earliest, limit)
}

// liveFlights lists the flights of a scope since a day.
const liveFlights = `(SELECT DISTINCT flight_id FROM flights WHERE lane = 'live' AND day >= ($1 AT TIME ZONE 'UTC')::date
	AND ($3 = '' OR pilot_id = $3) AND ($4 = '' OR race_id = $4) ORDER BY flight_id DESC LIMIT $5) AS f`

const liveColumns = `p.flight_id, coalesce(p.device_id, ''), coalesce(p.pilot_id, ''), coalesce(p.race_id, ''),
	p.datetime, p.lat, p.lon, p.elevation, p.barometric_altitude, p.speed, p.heading`

// Which points live returns, of more than it may.
const (
	earliest = ""
	latest   = " DESC"
)

// live returns points in the order of their times.
func (r *Reader) live(ctx context.Context, table string, scope Scope, condition, which string, limit int, more ...any) ([]LivePoint, error) {
	// OFFSET 0 keeps the range of time with each flight's search of the key.
	points, err := r.livePoints(ctx, `SELECT `+liveColumns+` FROM `+liveFlights+`, LATERAL (
			SELECT p.* FROM `+table+` AS p
			WHERE p.flight_id = f.flight_id AND p.datetime > $1 AND p.datetime <= $2`+condition+` OFFSET 0) AS p
		WHERE ($3 = '' OR p.pilot_id = $3) AND ($4 = '' OR p.race_id = $4)
		ORDER BY p.datetime`+which+` LIMIT $6`,
		append([]any{scope.From, liveEnd(scope), scope.Pilot, scope.Race, maxLiveFlights, limit}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("read live points: %w", err)
	}
	if which == latest {
		slices.Reverse(points)
	}
	return points, nil
}

// liveEnd is the scope's To, or a time after each point that may be stored.
func liveEnd(scope Scope) time.Time {
	if scope.To.IsZero() {
		return time.Now().Add(48 * time.Hour)
	}
	return scope.To
}

// LiveTails returns the last point of each flight of the lane live that is not
// older than a day, and one for each ten seconds of a little more than ten minutes before it, in
// the order of their times: those of the scope up to its To.
func (r *Reader) LiveTails(ctx context.Context, scope Scope) ([]LivePoint, error) {
	end := liveEnd(scope)
	from := time.Now().Add(-liveDay)
	if !scope.To.IsZero() {
		from = end.Add(-liveDay)
	}
	points, err := r.livePoints(ctx, `SELECT `+liveColumns+` FROM `+liveFlights+`, LATERAL (
			SELECT datetime AS at FROM live_track_points AS p
			WHERE p.flight_id = f.flight_id AND p.datetime > $1 AND p.datetime <= $2
				AND ($3 = '' OR p.pilot_id = $3) AND ($4 = '' OR p.race_id = $4)
			ORDER BY p.datetime DESC LIMIT 1) AS last, LATERAL (
			SELECT DISTINCT ON (floor(extract(epoch FROM p.datetime) / $7::float8)) p.* FROM live_track_points AS p
			WHERE p.flight_id = f.flight_id AND p.datetime > last.at - $6::interval AND p.datetime <= last.at
				AND ($3 = '' OR p.pilot_id = $3) AND ($4 = '' OR p.race_id = $4)
			ORDER BY floor(extract(epoch FROM p.datetime) / $7::float8), p.datetime DESC) AS p
		ORDER BY p.datetime`,
		from, end, scope.Pilot, scope.Race, maxLiveFlights, liveTail, liveTailStep.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read the last points of live flights: %w", err)
	}
	return points, nil
}

func (r *Reader) livePoints(ctx context.Context, statement string, parameters ...any) (points []LivePoint, err error) {
	err = r.query(ctx, "", func(ctx context.Context, connection *pgxpool.Conn) error {
		rows, err := connection.Query(ctx, statement, parameters...)
		if err != nil {
			return err
		}
		var row fixRow
		var flight lane.Flight
		into := append([]any{&flight.ID, &flight.DeviceID, &flight.PilotID, &flight.RaceID}, row.into()...)
		_, err = pgx.ForEachRow(rows, into, func() error {
			points = append(points, LivePoint{flight, row.fix()})
			return nil
		})
		return err
	})
	return points, err
}
