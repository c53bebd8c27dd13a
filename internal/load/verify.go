package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/checker"
	"tracklane/internal/clock"
)

const (
	connectTimeout  = 10 * time.Second
	compareTimeout  = 5 * time.Minute // for the last comparison, which reads every row of the run
	flightsPerQuery = 500

	// Counting rows takes time from the server that still writes them: a query
	// waits this long, and four times as long as the one before took.
	pollInterval = 200 * time.Millisecond
	pollShare    = 4
)

// verifier compares a lane's table with what was acknowledged.
type verifier struct {
	*run
	pool  *pgxpool.Pool
	table *checker.Table
}

func newVerifier(ctx context.Context, databaseURL string, r *run) (*verifier, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("verifying: read DATABASE_URL: %w", err)
	}
	config.MaxConns = 1
	config.ConnConfig.ConnectTimeout = connectTimeout
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	v := &verifier{run: r, pool: pool, table: checker.NewTable(pool, r.lane)}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := v.table.Check(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("verifying, with DATABASE_URL: %w", err)
	}
	return v, nil
}

func (v *verifier) close() { v.pool.Close() }

// verify waits until every acknowledged point is stored, or until timeout has
// passed since it was called, and returns what is there. No request may be on its
// way. A database that does not respond is asked again until the timeout.
func (v *verifier) verify(ctx context.Context, timeout time.Duration) (Verification, error) {
	polling, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	all := v.acknowledgedFlights()
	pending := slices.Clone(all)
	for {
		asked := time.Now()
		var err error
		pending, err = v.incomplete(polling, pending)
		took := time.Since(v.last)
		if err == nil && len(pending) == 0 {
			// Rows of requests without a response count as well, so only the
			// comparison knows.
			found, err := v.compare(polling)
			if err == nil && found.Missing == 0 {
				return Verification{took, found}, nil
			}
			pending = slices.Clone(all)
		}
		if !clock.Sleep(polling, max(pollInterval, pollShare*time.Since(asked))) {
			break
		}
	}
	if ctx.Err() != nil {
		return Verification{}, errors.New("verifying was interrupted")
	}
	comparing, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	took := time.Since(v.last)
	found, err := v.compare(comparing)
	if err != nil {
		return Verification{}, fmt.Errorf("verifying: %w", err)
	}
	return Verification{took, found}, nil
}

// expectedRows is a flight and the number of rows that it has at the least once
// all its acknowledged points are stored.
type expectedRows struct {
	flight uint64
	rows   int64
}

func (v *verifier) acknowledgedFlights() []expectedRows {
	var flights []expectedRows
	for flightNumber := range v.workload.flights(v.history.requests.Sent()) {
		acknowledged := 0
		for part := range v.workload.parts {
			if v.history.requests.IsAcknowledged(v.workload.requestOf(flightNumber, part)) {
				acknowledged++
			}
		}
		if acknowledged > 0 {
			flights = append(flights, expectedRows{flightNumber, int64(acknowledged * v.workload.points)})
		}
	}
	return flights
}

// incomplete returns those of the flights that have too few rows. When the
// database cannot be asked it returns all of them, and the error.
func (v *verifier) incomplete(ctx context.Context, flights []expectedRows) ([]expectedRows, error) {
	var few []expectedRows
	for chunk := range slices.Chunk(flights, flightsPerQuery) {
		names := make([]string, len(chunk))
		for i, expected := range chunk {
			names[i] = string(v.workload.appendFlight(nil, expected.flight))
		}
		stored, err := v.table.Counts(ctx, names)
		if err != nil {
			return flights, err
		}
		for i, expected := range chunk {
			if stored[names[i]] < expected.rows {
				few = append(few, expected)
			}
		}
	}
	return few, nil
}

// compare reads every row of the run's flights and finds each one's point.
func (v *verifier) compare(ctx context.Context) (checker.Result, error) {
	tally := checker.NewTally(&v.history.requests, v.workload.points)
	flights := v.workload.flights(v.history.requests.Sent())
	for first := uint64(0); first < flights; first += flightsPerQuery {
		numbers := make(map[string]uint64, flightsPerQuery)
		for number := first; number < min(first+flightsPerQuery, flights); number++ {
			numbers[string(v.workload.appendFlight(nil, number))] = number
		}
		err := v.table.Rows(ctx, slices.Collect(maps.Keys(numbers)), func(row checker.Row) {
			if point, ok := v.workload.pointAt(numbers[row.Flight], row.Time, row.Lat, row.Lon); ok {
				tally.Row(point)
			} else {
				tally.UnexpectedRow()
			}
		})
		if err != nil {
			return checker.Result{}, err
		}
	}
	return tally.Result(), nil
}
