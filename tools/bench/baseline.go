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

const (
	batchPoints         = 1000
	baselineConnections = 2

	// As in the load: so many flights at once, each of so many points.
	flightsAtOnce = 200
	flightPoints  = 1000
)

// makeRows makes all points of a run in the order in which the load sends
// them: each request in turn is the next part of another flight.
func makeRows(w workload, points int) []row {
	rows := make([]row, 0, points)
	start := time.Now().UTC().Truncate(time.Second).Add(-24 * time.Hour)
	partsPerFlight := flightPoints / w.points
	block := flightsAtOnce * partsPerFlight // requests until other flights follow
	names := make(map[int]string)
	for request := range points / w.points {
		flight := request/block*flightsAtOnce + request%flightsAtOnce
		part := request % block / flightsAtOnce
		if names[flight] == "" {
			names[flight] = fmt.Sprintf("baseline-bench-run-%08d", flight)
		}
		for i := range w.points {
			second := part*w.points + i
			rows = append(rows, row{
				flight: names[flight], at: start.Add(time.Duration(second) * time.Second),
				lat: 41.1 + float64(second)*1.1e-4, lon: 21.3 + float64(second)*0.9e-4,
				elevation: 1200.5 + float64(second), speed: 10.25, heading: float64(second % 360),
			})
		}
	}
	return rows
}

// measureBaseline writes points in batches on two connections and returns how
// many a second. The rows are made before the clock starts.
func (s *system) measureBaseline(ctx context.Context, w workload, points int,
	write func(context.Context, *pgx.Conn, string, []row) error,
) (pointsPerSecond float64, err error) {
	if err := s.reset(ctx); err != nil {
		return 0, err
	}
	batches := make(chan []row, points/batchPoints)
	for rows := makeRows(w, points); len(rows) > 0; rows = rows[batchPoints:] {
		batches <- rows[:batchPoints]
	}
	close(batches)
	start := time.Now()
	writing, ctx := errgroup.WithContext(ctx)
	for range baselineConnections {
		writing.Go(func() error {
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
	if err := writing.Wait(); err != nil {
		return 0, err
	}
	return float64(points) / time.Since(start).Seconds(), nil
}

func copyRows(ctx context.Context, connection *pgx.Conn, table string, rows []row) error {
	columns := []string{
		"flight_id", "datetime", "lat", "lon", "elevation", "barometric_altitude", "speed", "heading",
		"device_id", "pilot_id", "race_id", "received_at",
	}
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
