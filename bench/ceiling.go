package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// row is a point as an ordinary program holds it.
type row struct {
	flight                              string
	at                                  time.Time
	lat, lon, elevation, speed, heading float64
}

// columns are those of the table; the writers fill what the load fills.
var columns = []string{
	"flight_id", "datetime", "lat", "lon", "elevation", "barometric_altitude", "speed", "heading",
	"device_id", "pilot_id", "race_id", "received_at",
}

const (
	ceilingBatch       = 1000
	ceilingConnections = 2
	ceilingFlights     = 200
)

// makeRows makes a batch as it comes from the load: of one flight for uploads,
// of many that are interleaved for live points.
func makeRows(w workload, batch int) []row {
	rows := make([]row, ceilingBatch)
	begun := time.Now().UTC().Truncate(time.Second).Add(-24 * time.Hour)
	for i := range rows {
		flight, second := batch, i
		if w.points < ceilingBatch {
			n := batch*ceilingBatch + i
			flight, second = n%ceilingFlights, n/ceilingFlights
		}
		rows[i] = row{
			flight: fmt.Sprintf("ceiling-%06d", flight), at: begun.Add(time.Duration(second) * time.Second),
			lat: 41.1 + float64(i)*1.1e-4, lon: 21.3 + float64(i)*0.9e-4,
			elevation: 1200.5 + float64(i), speed: 10.25, heading: float64(i % 360),
		}
	}
	return rows
}

// writeOnTwoConnections writes points in batches, two at a time, and returns
// how long that took. The rows are made before the clock starts.
func (s *system) writeOnTwoConnections(ctx context.Context, w workload, points int,
	write func(context.Context, *pgx.Conn, string, []row) error,
) (time.Duration, error) {
	batches := make(chan []row, points/ceilingBatch)
	for batch := range points / ceilingBatch {
		batches <- makeRows(w, batch)
	}
	close(batches)
	begun := time.Now()
	var group errgroup.Group
	for range ceilingConnections {
		group.Go(func() error {
			connection, err := s.pool.Acquire(ctx)
			if err != nil {
				return fmt.Errorf("get a connection: %w", err)
			}
			defer connection.Release()
			for rows := range batches {
				if err := write(ctx, connection.Conn(), w.table, rows); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(begun), err
}

func copyRows(ctx context.Context, connection *pgx.Conn, table string, rows []row) error {
	received := time.Now()
	_, err := connection.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		r := &rows[i]
		return []any{r.flight, r.at, r.lat, r.lon, r.elevation, nil, r.speed, r.heading, nil, nil, nil, received}, nil
	}))
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

func unnestRows(ctx context.Context, connection *pgx.Conn, table string, rows []row) error {
	n := len(rows)
	flights, times := make([]string, n), make([]time.Time, n)
	lats, lons, elevations := make([]float64, n), make([]float64, n), make([]float64, n)
	speeds, headings := make([]float64, n), make([]float64, n)
	for i := range rows {
		r := &rows[i]
		flights[i], times[i], lats[i], lons[i] = r.flight, r.at, r.lat, r.lon
		elevations[i], speeds[i], headings[i] = r.elevation, r.speed, r.heading
	}
	_, err := connection.Exec(ctx, `INSERT INTO `+pgx.Identifier{table}.Sanitize()+`
		(flight_id, datetime, lat, lon, elevation, speed, heading, received_at)
		SELECT *, now() FROM unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[])
		ON CONFLICT DO NOTHING`, flights, times, lats, lons, elevations, speeds, headings)
	if err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	return nil
}
