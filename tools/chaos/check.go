package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/checker"
	"tracklane/internal/clock"
	"tracklane/internal/lane"
	"tracklane/migrations"
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

// dbChecker compares the lanes' tables with the history.
type dbChecker struct {
	database *pgxpool.Pool
	history  *history
	tables   []table
}

// table is the table of a lane.
type table struct {
	*checker.Table
	lane string
}

func newDBChecker(database *pgxpool.Pool, h *history) *dbChecker {
	c := &dbChecker{database: database, history: h}
	for _, l := range lane.All(lane.Options{}) {
		c.tables = append(c.tables, table{checker.NewTable(database, l), l.Name})
	}
	return c
}

// watch looks for acknowledged requests until ctx ends, or until all were seen
// once finished is closed. It returns whether they were.
func (c *dbChecker) watch(ctx context.Context, finished <-chan struct{}) bool {
	for {
		// What a fault keeps from being seen now is looked for again.
		_ = c.look(ctx)
		select {
		case <-finished:
			if c.history.unseenCount() == 0 {
				return true
			}
		default:
		}
		if !clock.Sleep(ctx, pollInterval) {
			return false
		}
	}
}

// look looks once for the oldest requests that were not seen yet.
func (c *dbChecker) look(ctx context.Context) error {
	for _, t := range c.tables {
		if err := c.lookIn(ctx, t); err != nil {
			return fmt.Errorf("look for acknowledged points of the lane %s: %w", t.lane, err)
		}
	}
	return nil
}

func (c *dbChecker) lookIn(ctx context.Context, t table) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if err := c.lookForRefused(ctx, t); err != nil {
		return err
	}
	requests := c.history.unseen(t.lane, pollLimit, false)
	if len(requests) == 0 {
		return nil
	}
	spans := make([]checker.Span, len(requests))
	for i, r := range requests {
		s := c.history.streams[r.stream]
		flight, place := s.place(r.number)
		spans[i] = checker.Span{
			Flight: s.identity(flight), Points: s.points,
			First: s.point(flight, place).at, Last: s.point(flight, place+s.points-1).at,
		}
	}
	complete, err := t.Complete(ctx, spans)
	if err != nil {
		return err
	}
	var seen []request
	for _, i := range complete {
		seen = append(seen, requests[i])
	}
	c.history.saw(seen, time.Now())
	return nil
}

// lookForRefused looks for the requests whose points the database refuses; each of
// them is a flight.
func (c *dbChecker) lookForRefused(ctx context.Context, t table) error {
	requests := c.history.unseen(t.lane, pollLimit, true)
	if len(requests) == 0 {
		return nil
	}
	flights := make([]string, len(requests))
	for i, r := range requests {
		flights[i] = c.history.streams[r.stream].identity(r.number)
	}
	rows, err := c.database.Query(ctx, `SELECT point->>'flight_id' AS flight, count(*) FROM rejected_points
		WHERE lane = $1 AND point->>'flight_id' = ANY($2) GROUP BY flight`, t.lane, flights)
	if err != nil {
		return fmt.Errorf("look for refused points: %w", err)
	}
	stored := make(map[string]int)
	var flight string
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&flight, &count}, func() error {
		stored[flight] = count
		return nil
	}); err != nil {
		return fmt.Errorf("look for refused points: %w", err)
	}
	var seen []request
	for i, r := range requests {
		if stored[flights[i]] >= c.history.streams[r.stream].points {
			seen = append(seen, r)
		}
	}
	c.history.saw(seen, time.Now())
	return nil
}

// comparison is what the tables hold, in points.
type comparison struct {
	checker.Result
	unexpected findings // the rows that no client sent
	losses     []loss

	refused   int64    // acknowledged points that the database had to refuse, and that are in rejected_points
	rejected  int      // other rows of rejected_points
	plain     []string // tables of points that are no hypertables, though there is TimescaleDB
	archived  int      // tasks that asynq gave up
	leftTasks int      // of any other state
}

// loss is an acknowledged request of which points are missing.
type loss struct {
	request
	points       int
	acknowledged time.Duration
	direct       bool
}

// compare reads every row of every table. No request may be on its way.
func (c *dbChecker) compare(ctx context.Context) (comparison, error) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	var found comparison
	tallies := make([]*checker.Tally, len(c.history.streams))
	for i, s := range c.history.streams {
		tallies[i] = checker.NewTally(c.history.sent(i), s.points)
	}
	for _, t := range c.tables {
		if err := c.compareTable(ctx, t, tallies, &found.unexpected); err != nil {
			return comparison{}, fmt.Errorf("compare the table of the lane %s: %w", t.lane, err)
		}
	}
	if err := c.compareRejected(ctx, tallies, &found); err != nil {
		return comparison{}, fmt.Errorf("compare rejected_points: %w", err)
	}
	for i, tally := range tallies {
		found.Add(tally.Result())
		if c.history.streams[i].isRefused() {
			found.refused += tally.Result().Stored
		}
		for _, l := range tally.Losses() {
			r := request{i, int(l.Request)}
			a := c.history.acknowledgement(r)
			found.losses = append(found.losses, loss{r, l.Points, a.at, a.direct})
		}
	}
	found.Unexpected = int64(found.unexpected.total)
	status, err := migrations.ReadStatus(ctx, c.database.Config().ConnString())
	if err != nil {
		return comparison{}, fmt.Errorf("look at the schema: %w", err)
	}
	if status.TimescaleDB.Installed != "" {
		found.plain = status.PlainTables
	}
	return found, nil
}

// compareRejected counts the rows of rejected_points: those of the points that the
// database refuses, and all others.
func (c *dbChecker) compareRejected(ctx context.Context, tallies []*checker.Tally, found *comparison) error {
	flights := make(map[string]request)
	for i, s := range c.history.streams {
		for number := range int(c.history.sent(i).Sent()) {
			if s.isRefused() {
				flights[s.identity(number)] = request{i, number}
			}
		}
	}
	rows, err := c.database.Query(ctx, `SELECT coalesce(point->>'flight_id', ''),
		coalesce((point->>'datetime')::timestamptz, 'epoch'), coalesce((point->>'lat')::float8, 0) FROM rejected_points`)
	if err != nil {
		return err
	}
	var flight string
	var at time.Time
	var lat float64
	_, err = pgx.ForEachRow(rows, []any{&flight, &at, &lat}, func() error {
		r, sent := flights[flight]
		if !sent {
			found.rejected++
			return nil
		}
		s := c.history.streams[r.stream]
		place := int(at.Sub(firstFix()) / time.Second)
		if place < 0 || place >= s.points || s.point(r.number, place).lat != lat {
			found.rejected++
			return nil
		}
		tallies[r.stream].Row(uint64(r.number*s.points + place))
		return nil
	})
	return err
}

// compareTable finds out where each row of a table comes from.
func (c *dbChecker) compareTable(ctx context.Context, t table, tallies []*checker.Tally, unexpected *findings) error {
	type flightOf struct {
		stream stream
		number int
	}
	flights := make(map[string]flightOf)
	for i, s := range c.history.streams {
		sent := int(c.history.sent(i).Sent())
		for number := 0; s.lane == t.lane && !s.isRefused() && number <= sent/s.requests; number++ {
			flights[s.identity(number)] = flightOf{s, number}
		}
	}
	return t.AllRows(ctx, func(row checker.Row) {
		why := ""
		if f, ok := flights[row.Flight]; !ok {
			why = "no such flight was sent"
		} else if place, ok := f.stream.placeOf(f.number, row); !ok {
			why = "no such point was sent"
		} else if !tallies[f.stream.id].Row(uint64(f.number*f.stream.requests*f.stream.points + place)) {
			why = "its request was not sent yet"
		}
		if why != "" {
			unexpected.add(fmt.Sprintf("%s: %s at %s, %v %v: %s", t.lane, row.Flight, row.Time.UTC(), row.Lat, row.Lon, why))
		}
	})
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
