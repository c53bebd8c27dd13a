package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// RefusedFlight is what the dead-letter table has of a flight.
type RefusedFlight struct {
	Lane, ID string // as in a Flight; an empty ID is of payloads that cannot be read
	Points   int64  // or payloads
	Error    string // of the newest
	Last     time.Time
}

const (
	// maxRefusedRows is how many rows of the dead-letter table RefusedFlights reads,
	// and maxRefusedFlights how many flights it returns.
	maxRefusedRows    = 10_000
	maxRefusedFlights = 200
)

// RefusedFlights returns the flights that have points in the dead-letter table,
// those that were refused last first: of its newest 10,000 rows.
func (r *Reader) RefusedFlights(ctx context.Context) (flights []RefusedFlight, err error) {
	err = r.query(ctx, "", func(ctx context.Context, connection *pgxpool.Conn) error {
		rows, err := connection.Query(ctx, `
			SELECT lane, flight, count(*), (array_agg(error ORDER BY id DESC))[1], max(rejected_at) FROM (
				SELECT id, lane, error, rejected_at, CASE
					WHEN point IS NULL THEN ''
					WHEN lane = 'flymaster' THEN concat(point->>'device_id', '-', translate(left(point->>'date_time', 10), '-', ''))
					ELSE coalesce(point->>'flight_id', point->>'flight_uuid', '') END AS flight
				FROM rejected_points ORDER BY id DESC LIMIT $1) AS refused
			GROUP BY lane, flight ORDER BY max(id) DESC LIMIT $2`, maxRefusedRows, maxRefusedFlights)
		if err != nil {
			return err
		}
		flights, err = pgx.CollectRows(rows, pgx.RowToStructByPos[RefusedFlight])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read which flights have refused points: %w", err)
	}
	return flights, nil
}
