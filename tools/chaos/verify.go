package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

const (
	// pollInterval is how often acknowledged requests are looked for in their
	// tables, and so how exactly their waits are known.
	pollInterval = 500 * time.Millisecond

	// pollLimit is how many requests of each stream are looked for at a time.
	pollLimit = 300

	pollTimeout    = 10 * time.Second
	compareTimeout = 5 * time.Minute
)

// verifier compares the lanes' tables with the ledger.
type verifier struct {
	database *pgxpool.Pool
	ledger   *ledger
	tables   []table
}

// table is how a lane's rows are asked for.
type table struct {
	lane string
	// seenQuery returns the places, from 1, of those stretches of flights that
	// hold as many rows as they should.
	seenQuery string
	rowsQuery string
}

func newVerifier(database *pgxpool.Pool, l *ledger) *verifier {
	v := &verifier{database: database, ledger: l}
	for _, l := range lane.All(lane.Options{}) {
		identity, at := pgx.Identifier{l.TrackColumns[0].Name}.Sanitize(), pgx.Identifier{l.TimeColumn}.Sanitize()
		name, altitude := pgx.Identifier{l.Table}.Sanitize(), pgx.Identifier{l.ValueColumns[0].Name}.Sanitize()
		v.tables = append(v.tables, table{
			lane: l.Name,
			seenQuery: fmt.Sprintf(`
				SELECT place FROM unnest($1::text[]::%s[], $2::timestamptz[], $3::timestamptz[], $4::int[])
					WITH ORDINALITY AS sent (identity, first, last, points, place)
				WHERE points = (SELECT count(*) FROM %s WHERE %s = identity AND %s BETWEEN first AND last)`,
				l.TrackColumns[0].Kind.SQLType(), name, identity, at),
			rowsQuery: fmt.Sprintf("SELECT %s::text, %s, lat, lon, %s FROM %s", identity, at, altitude, name),
		})
	}
	return v
}

// watch looks for acknowledged requests until ctx ends, or until all were seen
// once finished is closed. It returns whether they were.
func (v *verifier) watch(ctx context.Context, finished <-chan struct{}) bool {
	for {
		// What a fault keeps from being seen now is looked for again.
		_ = v.look(ctx)
		select {
		case <-finished:
			if v.ledger.unseenCount() == 0 {
				return true
			}
		default:
		}
		if !sleep(ctx, pollInterval) {
			return false
		}
	}
}

// look looks once for the oldest requests that were not seen yet.
func (v *verifier) look(ctx context.Context) error {
	for _, t := range v.tables {
		if err := v.lookIn(ctx, t); err != nil {
			return fmt.Errorf("look for acknowledged points of the lane %s: %w", t.lane, err)
		}
	}
	return nil
}

func (v *verifier) lookIn(ctx context.Context, t table) error {
	requests := v.ledger.unseen(t.lane, pollLimit)
	if len(requests) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	var identities []string
	var first, last []time.Time
	var points []int
	for _, r := range requests {
		s := v.ledger.streams[r.stream]
		flight, place := s.place(r.number)
		identities = append(identities, s.identity(flight))
		first = append(first, s.point(flight, place).at)
		last = append(last, s.point(flight, place+s.points-1).at)
		points = append(points, s.points)
	}
	rows, err := v.database.Query(ctx, t.seenQuery, identities, first, last, points)
	if err != nil {
		return err
	}
	places, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	var seen []request
	for _, place := range places {
		seen = append(seen, requests[place-1])
	}
	v.ledger.saw(seen, time.Now())
	return nil
}

// comparison is what the tables hold, in points.
type comparison struct {
	stored         int // acknowledged
	unacknowledged int // sent, and never acknowledged
	twice          int
	invented       findings // rows that no client sent

	missing   int // acknowledged, and not there
	losses    []loss
	rejected  int // rows of rejected_points
	archived  int // tasks that asynq gave up
	leftTasks int // of any other state
}

// loss is an acknowledged request of which points are missing.
type loss struct {
	request
	points       int
	acknowledged time.Duration
	direct       bool
}

// compare reads every row of every table. No request may be on its way.
func (v *verifier) compare(ctx context.Context) (comparison, error) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	var found comparison
	seen := make([][]bool, len(v.ledger.streams)) // by stream and point
	for i, s := range v.ledger.streams {
		requests, _ := v.ledger.requests(i)
		seen[i] = make([]bool, (requests+1)*s.points)
	}
	for _, t := range v.tables {
		if err := v.compareTable(ctx, t, seen, &found); err != nil {
			return comparison{}, fmt.Errorf("compare the table of the lane %s: %w", t.lane, err)
		}
	}
	for i, s := range v.ledger.streams {
		requests, _ := v.ledger.requests(i)
		for number := range requests {
			lost := 0
			for _, there := range seen[i][number*s.points : (number+1)*s.points] {
				if !there {
					lost++
				}
			}
			if lost > 0 {
				r := request{i, number}
				a := v.ledger.acknowledgement(r)
				found.missing += lost
				found.losses = append(found.losses, loss{r, lost, a.at, a.direct})
			}
		}
	}
	err := v.database.QueryRow(ctx, "SELECT count(*) FROM rejected_points").Scan(&found.rejected)
	if err != nil {
		return comparison{}, fmt.Errorf("count rejected points: %w", err)
	}
	return found, nil
}

// compareTable finds out where each row of a table comes from.
func (v *verifier) compareTable(ctx context.Context, t table, seen [][]bool, found *comparison) error {
	type flightOf struct {
		stream stream
		flight int
	}
	flights := make(map[string]flightOf)
	for i, s := range v.ledger.streams {
		requests, _ := v.ledger.requests(i)
		for flight := 0; s.lane == t.lane && flight <= requests/s.requests; flight++ {
			flights[s.identity(flight)] = flightOf{s, flight}
		}
	}
	rows, err := v.database.Query(ctx, t.rowsQuery)
	if err != nil {
		return err
	}
	var identity string
	var at time.Time
	var lat, lon float64
	var altitude *float64
	_, err = pgx.ForEachRow(rows, []any{&identity, &at, &lat, &lon, &altitude}, func() error {
		invented := func(why string) error {
			found.invented.add(fmt.Sprintf("%s: %s at %s, %v %v: %s", t.lane, identity, at.UTC(), lat, lon, why))
			return nil
		}
		f, ok := flights[identity]
		if !ok {
			return invented("no such flight was sent")
		}
		place := int(at.Sub(firstFix()) / time.Second)
		if place < 0 || place >= f.stream.requests*f.stream.points {
			return invented("the flight has no such time")
		}
		sent := f.stream.point(f.flight, place)
		if !sent.at.Equal(at) || sent.lat != lat || sent.lon != lon || altitude == nil || *altitude != sent.altitude {
			return invented("the point that was sent is another")
		}
		number := f.stream.numberAt(f.flight, place)
		acknowledged, pending := v.ledger.requests(f.stream.id)
		if number > acknowledged || number == acknowledged && !pending {
			return invented("its request was not sent yet")
		}
		index := (f.flight*f.stream.requests)*f.stream.points + place
		switch {
		case seen[f.stream.id][index]:
			found.twice++
		case number < acknowledged:
			found.stored++
		default:
			found.unacknowledged++
		}
		seen[f.stream.id][index] = true
		return nil
	})
	return err
}

// countTasks counts what is left in the queues.
func (c *comparison) countTasks(client redis.UniversalClient) error {
	inspector := asynq.NewInspectorFromRedisClient(client)
	queues, err := inspector.Queues()
	if err != nil {
		return fmt.Errorf("list the queues: %w", err)
	}
	for _, name := range queues {
		info, err := inspector.GetQueueInfo(name)
		if err != nil {
			return fmt.Errorf("look at the queue %s: %w", name, err)
		}
		c.archived += info.Archived
		c.leftTasks += info.Pending + info.Active + info.Aggregating + info.Scheduled + info.Retry
	}
	return nil
}
