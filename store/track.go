package store

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// fixRow is a row of a query for a time, a place and the values of a readPlan.
type fixRow struct {
	at       time.Time
	lat, lon float64
	values   [4]*float64
}

func (r *fixRow) into() []any {
	return []any{&r.at, &r.lat, &r.lon, &r.values[0], &r.values[1], &r.values[2], &r.values[3]}
}

func (r *fixRow) fix() lane.Fix {
	f := lane.NoFix()
	f.Time, f.Lat, f.Lon = r.at.UnixMicro(), r.lat, r.lon
	for i, into := range []*float64{&f.Elevation, &f.BarometricAltitude, &f.Speed, &f.Heading} {
		if value := r.values[i]; value != nil && !math.IsInf(*value, 0) {
			*into = *value
		}
	}
	return f
}

// TrackState changes whenever points of a flight come to a scope or leave it.
type TrackState struct {
	Points      int64
	First, Last time.Time
}

// TrackState returns how many points of a flight a scope has, and their first and
// last times, which are zero without points. Nothing changes a stored point, so an
// equal state means equal points.
func (r *Reader) TrackState(ctx context.Context, ref FlightRef, scope Scope) (TrackState, error) {
	p := r.tables[ref.Lane]
	where, parameters := scope.where(p, ref.key, ref.days)
	var s TrackState
	var first, last *time.Time
	err := r.query(ctx, scope.Sender, func(ctx context.Context, connection *pgxpool.Conn) error {
		return connection.QueryRow(ctx, fmt.Sprintf("SELECT count(*), min(%s), max(%s) FROM %s WHERE %s", p.at, p.at, p.table, where),
			parameters...).Scan(&s.Points, &first, &last)
	})
	if err != nil {
		return TrackState{}, fmt.Errorf("count the points of flight %q: %w", ref.ID, err)
	}
	if first != nil {
		s.First, s.Last = *first, *last
	}
	return s, nil
}

// Track iterates over the points of a flight in a scope, in the order of their
// times, once for each range over it. It reads pages of points, each when the one
// before it is used up, so a point that is stored meanwhile may be among them. An
// error ends it.
func (r *Reader) Track(ctx context.Context, ref FlightRef, scope Scope) iter.Seq2[lane.Fix, error] {
	return func(yield func(lane.Fix, error) bool) {
		var last *lane.Fix
		page := make([]lane.Fix, 0, pagePoints)
		for {
			var err error
			if page, err = r.page(ctx, ref, scope, last, page[:0]); err != nil {
				yield(lane.Fix{}, fmt.Errorf("read the points of flight %q: %w", ref.ID, err))
				return
			}
			for _, fix := range page {
				if !yield(fix, nil) {
					return
				}
			}
			if len(page) < pagePoints {
				return
			}
			end := page[len(page)-1]
			last = &end
		}
	}
}

// pageStatement makes the query of a page of points after one of them, or of the
// first page.
func pageStatement(p *readPlan, ref FlightRef, scope Scope, last *lane.Fix) (statement string, parameters []any) {
	where, parameters := scope.where(p, ref.key, ref.days)
	if last != nil {
		n := len(parameters)
		// The bound on the time alone is what TimescaleDB leaves chunks out by.
		where += fmt.Sprintf(" AND (%[1]s, lat, lon) > ($%[2]d, $%[3]d, $%[4]d) AND %[1]s >= $%[2]d", p.at, n+1, n+2, n+3)
		parameters = append(parameters, time.UnixMicro(last.Time), last.Lat, last.Lon)
	}
	return fmt.Sprintf("SELECT %s, lat, lon, %s FROM %s WHERE %s ORDER BY %s, lat, lon LIMIT %d",
		p.at, p.values, p.table, where, p.at, pagePoints), parameters
}

// page reads the points after one of them, or the first ones.
func (r *Reader) page(ctx context.Context, ref FlightRef, scope Scope, last *lane.Fix, page []lane.Fix) ([]lane.Fix, error) {
	statement, parameters := pageStatement(r.tables[ref.Lane], ref, scope, last)
	err := r.query(ctx, scope.Sender, func(ctx context.Context, connection *pgxpool.Conn) error {
		rows, err := connection.Query(ctx, statement, parameters...)
		if err != nil {
			return err
		}
		var row fixRow
		_, err = pgx.ForEachRow(rows, row.into(), func() error {
			page = append(page, row.fix())
			return nil
		})
		return err
	})
	return page, err
}
