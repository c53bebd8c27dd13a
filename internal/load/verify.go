package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

const (
	connectTimeout = 10 * time.Second
	compareTimeout = 5 * time.Minute // for the last look, which reads every row of the run
	flightsAQuery  = 500

	// Counting rows takes time from the server that still writes them: a look
	// waits this long, and four times as long as the one before took.
	pollInterval = 200 * time.Millisecond
	pollShare    = 4
)

// verifier compares a lane's table with what was acknowledged.
type verifier struct {
	pool       *pgxpool.Pool
	traffic    *traffic
	countQuery string
	rowsQuery  string
}

func newVerifier(ctx context.Context, databaseURL string, l *lane.Lane, sent *traffic) (*verifier, error) {
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
	key, types := l.TrackColumns[0], map[lane.Kind]string{lane.Text: "text", lane.UUID: "uuid", lane.BigInt: "bigint"}
	name, at, table := pgx.Identifier{key.Name}.Sanitize(), pgx.Identifier{l.TimeColumn}.Sanitize(), pgx.Identifier{l.Table}.Sanitize()
	of := fmt.Sprintf(" FROM %s WHERE %s = ANY($1::text[]::%s[])", table, name, types[key.Kind])
	v := &verifier{
		pool:       pool,
		traffic:    sent,
		countQuery: fmt.Sprintf("SELECT %s::text, count(*)%s GROUP BY %[1]s", name, of),
		rowsQuery:  fmt.Sprintf("SELECT %s::text, %s, lat, lon%s", name, at, of),
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := pool.Exec(ctx, "SELECT "+name+" FROM "+table+" LIMIT 0"); err != nil {
		pool.Close()
		return nil, fmt.Errorf("verifying: read table %s at DATABASE_URL: %w", l.Table, err)
	}
	return v, nil
}

func (v *verifier) close() { v.pool.Close() }

// verify waits until every acknowledged point is stored, or until timeout has
// passed since it was called, and says what is there. No request may be on its
// way. A database that does not answer is asked again until the timeout.
func (v *verifier) verify(ctx context.Context, l *ledger, last time.Time, timeout time.Duration) (Verification, error) {
	polling, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	all := v.acknowledgedFlights(l)
	pending := slices.Clone(all)
	for {
		asked := time.Now()
		var err error
		pending, err = v.incomplete(polling, pending)
		took := time.Since(last)
		if err == nil && len(pending) == 0 {
			// Rows of requests without an answer count as well, so only the
			// comparison knows.
			found, err := v.compare(polling, l)
			if err == nil && found.Missing == 0 {
				found.Took = took
				return found, nil
			}
			pending = slices.Clone(all)
		}
		if !sleep(polling, max(pollInterval, pollShare*time.Since(asked))) {
			break
		}
	}
	if ctx.Err() != nil {
		return Verification{}, errors.New("verifying was interrupted")
	}
	comparing, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	took := time.Since(last)
	found, err := v.compare(comparing, l)
	if err != nil {
		return Verification{}, fmt.Errorf("verifying: %w", err)
	}
	found.Took = took
	return found, nil
}

// owed is a flight and the number of rows it must come to at the least.
type owed struct {
	flight uint64
	rows   int64
}

func (v *verifier) acknowledgedFlights(l *ledger) []owed {
	var flights []owed
	for flightNumber := range v.traffic.flights(l.next) {
		acknowledged := 0
		for part := range v.traffic.parts {
			if l.acknowledged.has(v.traffic.requestOf(flightNumber, part)) {
				acknowledged++
			}
		}
		if acknowledged > 0 {
			flights = append(flights, owed{flightNumber, int64(acknowledged * v.traffic.points)})
		}
	}
	return flights
}

// incomplete returns those of the flights that have too few rows. When the
// database cannot be asked it returns all of them, and the error.
func (v *verifier) incomplete(ctx context.Context, flights []owed) ([]owed, error) {
	var few []owed
	for chunk := range slices.Chunk(flights, flightsAQuery) {
		identities := make([]string, len(chunk))
		for i, o := range chunk {
			identities[i] = string(v.traffic.appendIdentity(nil, o.flight))
		}
		stored := make(map[string]int64, len(chunk))
		rows, err := v.pool.Query(ctx, v.countQuery, identities)
		if err != nil {
			return flights, err
		}
		var identity string
		var count int64
		if _, err := pgx.ForEachRow(rows, []any{&identity, &count}, func() error {
			stored[identity] = count
			return nil
		}); err != nil {
			return flights, err
		}
		for i, o := range chunk {
			if stored[identities[i]] < o.rows {
				few = append(few, o)
			}
		}
	}
	return few, nil
}

// compare reads every row of the run's flights and finds each one's point.
func (v *verifier) compare(ctx context.Context, l *ledger) (Verification, error) {
	var found Verification
	var seen bitset
	flights := v.traffic.flights(l.next)
	for first := uint64(0); first < flights; first += flightsAQuery {
		numbers := make(map[string]uint64, flightsAQuery)
		identities := make([]string, 0, flightsAQuery)
		for number := first; number < min(first+flightsAQuery, flights); number++ {
			identity := string(v.traffic.appendIdentity(nil, number))
			numbers[identity] = number
			identities = append(identities, identity)
		}
		rows, err := v.pool.Query(ctx, v.rowsQuery, identities)
		if err != nil {
			return Verification{}, fmt.Errorf("read stored points: %w", err)
		}
		var identity string
		var at time.Time
		var lat, lon float64
		if _, err := pgx.ForEachRow(rows, []any{&identity, &at, &lat, &lon}, func() error {
			point, ok := v.traffic.pointAt(numbers[identity], at, lat, lon)
			request := point / uint64(v.traffic.points)
			switch {
			case !ok || request >= l.next:
				found.Unexpected++
			case !seen.add(point):
				found.Twice++
			case l.acknowledged.has(request):
				found.Stored++
			default:
				found.Unacknowledged++
			}
			return nil
		}); err != nil {
			return Verification{}, fmt.Errorf("read stored points: %w", err)
		}
	}
	_, acknowledged := l.counts()
	found.Missing = int64(acknowledged)*int64(v.traffic.points) - found.Stored
	return found, nil
}
