package status

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/store"
	"tracklane/tasks"
)

// Config is what a Collector asks, and what it knows already. All of it is
// required.
type Config struct {
	Lanes     []*lane.Lane
	Weights   map[string]int // of the queues, by the lane's name
	Database  *store.Database
	Inspector *tasks.Inspector
	Recorder  *metrics.Recorder

	// BypassesRedis reports whether this process writes points directly into
	// the database at present.
	BypassesRedis func() bool

	// AdmitsLive reports whether Redis has room for points of the live lane, as
	// far as this process knows.
	AdmitsLive func() bool

	// Open reports whether this process serves everybody, without tokens and
	// passwords, and OpenToOthers whether other machines reach it.
	Open, OpenToOthers bool

	Version string // of the program
	Logger  *slog.Logger
}

// Collector collects Snapshots. Any number of goroutines may use one at the
// same time.
type Collector struct {
	config  Config
	started time.Time
	last    atomic.Pointer[Snapshot]
	flight  singleflight.Group
}

// NewCollector returns a collector. The uptime in its snapshots counts from
// now.
func NewCollector(config Config) *Collector {
	return &Collector{config: config, started: time.Now()}
}

// Snapshot returns a snapshot that is no older than statusTTL, within about
// checkTimeout. Callers that come at the same time share one collection. The
// error is ctx's: what is down is told by the snapshot.
func (c *Collector) Snapshot(ctx context.Context) (Snapshot, error) {
	if last := c.fresh(); last != nil {
		return *last, nil
	}
	// The collection is everybody's, so that it does not end with one caller.
	shared := context.WithoutCancel(ctx)
	result := c.flight.DoChan("", func() (any, error) {
		if last := c.fresh(); last != nil { // another flight has just ended
			return *last, nil
		}
		collected := c.collect(shared)
		c.last.Store(&collected)
		return collected, nil
	})
	select {
	case r := <-result:
		return r.Val.(Snapshot), nil
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
}

// fresh returns the last snapshot, or nil when it is too old.
func (c *Collector) fresh() *Snapshot {
	if last := c.last.Load(); last != nil && time.Since(last.At) < statusTTL {
		return last
	}
	return nil
}

// Ready reports whether a point of the live lane that is posted now would be
// accepted, by Redis or by the database. It returns within checkTimeout. Callers that
// come at the same time share one check, so that probes by everybody take one
// connection.
func (c *Collector) Ready(ctx context.Context) bool {
	shared := context.WithoutCancel(ctx)
	result := c.flight.DoChan("ready", func() (any, error) { return c.checkReady(shared), nil })
	select {
	case r := <-result:
		return r.Val.(bool)
	case <-ctx.Done():
		return false // nobody waits for the response
	}
}

func (c *Collector) checkReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	redis := make(chan bool, 1)
	go func() { redis <- c.config.AdmitsLive() && c.config.Inspector.Writable(ctx) }()
	database, err := c.config.Database.Check(ctx)
	return err == nil && database.Writable || <-redis
}

// collect asks the database and Redis at the same time.
func (c *Collector) collect(ctx context.Context) Snapshot {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	giveUp := time.NewTimer(checkTimeout + collectGrace)
	defer giveUp.Stop()
	queues := make(chan queueState, 1)
	go func() { queues <- c.collectQueues(ctx) }()

	s := Snapshot{
		Version: c.config.Version, Database: c.collectDatabase(ctx),
		Open: c.config.Open, OpenToOthers: c.config.OpenToOthers,
	}
	var state queueState
	select {
	case state = <-queues:
	case <-giveUp.C: // Redis counts as down
	}
	s.At = time.Now()
	s.Uptime = s.At.Sub(c.started)
	s.BypassesRedis = c.config.BypassesRedis()
	s.Redis, s.Workers, s.RedisWritable = state.redis, state.workers, state.writable
	s.RedisFull = state.redis.Connected && !c.config.AdmitsLive()
	if state.stats == nil { // those of the other processes are not known
		state.stats, state.distress = c.config.Recorder.Stats(s.At), c.config.Recorder.DistressCalls(s.At)
	}
	s.Distress = state.distress
	for _, l := range c.config.Lanes {
		s.Lanes = append(s.Lanes, Lane{
			Name: l.Name, Priority: l.Priority, Weight: c.config.Weights[l.Name], Table: l.Table,
			Queue: state.queues[l.Name], Backlog: state.backlogs[l.Name], Stats: state.stats[l.Name],
		})
	}
	return s
}

func (c *Collector) collectDatabase(ctx context.Context) Database {
	pool := c.config.Database.Stat()
	d := Database{Pool: Pool{
		Acquired: int(pool.AcquiredConns()), Idle: int(pool.IdleConns()), Max: int(pool.MaxConns()),
		AcquireWait: pool.AcquireDuration(),
	}}
	start := time.Now()
	found, err := c.config.Database.Check(ctx)
	if err != nil {
		d.Err = err // it counts as down
		return d
	}
	d.Connected, d.Latency = true, time.Since(start)
	d.TimescaleDB, d.NoSync, d.Writable = found.TimescaleDB, found.NoSync, found.Writable
	d.HasRejected, d.NoRejects, d.NoFlights = found.Rejected, found.NoRejects, found.NoFlights
	return d
}

// queueState is what Redis tells; the maps are by the lane's name.
type queueState struct {
	redis    tasks.Redis
	writable bool
	queues   map[string]tasks.Queue
	backlogs map[string]tasks.Backlog
	workers  []tasks.WorkerProcess
	stats    map[string]metrics.Stats
	distress []metrics.DistressCall
}

// collectQueues returns what Redis tells. A Redis that fails half-way counts as
// down: its state would be half of one.
func (c *Collector) collectQueues(ctx context.Context) queueState {
	state := queueState{redis: c.config.Inspector.Redis(ctx)}
	if !state.redis.Connected {
		return queueState{redis: state.redis}
	}
	if err := c.fillQueues(ctx, &state); err != nil {
		c.config.Logger.Warn("the queues cannot be inspected; Redis counts as down", "error", err)
		return queueState{}
	}
	state.writable = c.config.Inspector.Writable(ctx)
	return state
}

func (c *Collector) fillQueues(ctx context.Context, state *queueState) (err error) {
	if state.queues, err = c.config.Inspector.Queues(); err != nil {
		return err
	}
	if state.workers, err = c.config.Inspector.Workers(); err != nil {
		return err
	}
	if state.stats, err = c.config.Inspector.Stats(ctx); err != nil {
		return err
	}
	if state.distress, err = c.config.Inspector.DistressCalls(ctx, c.config.Recorder.DistressCalls(time.Now())); err != nil {
		return err
	}
	state.backlogs = make(map[string]tasks.Backlog, len(c.config.Lanes))
	for _, l := range c.config.Lanes {
		if state.backlogs[l.Name], err = c.config.Inspector.Backlog(ctx, l, state.queues[l.Name]); err != nil {
			return err
		}
	}
	return nil
}
