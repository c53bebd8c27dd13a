package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
	"tracklane/store"
)

// WorkerOptions says how a worker takes tasks off the queues. All of them are
// required.
type WorkerOptions struct {
	Concurrency int            // batches written at the same time
	Weights     map[string]int // of the queues, by lane
	Batching    Batching

	// ShutdownTimeout is how long Run waits, once its context has ended, for
	// batches that are being written.
	ShutdownTimeout time.Duration
}

// Worker takes batches off the lanes' queues and writes them to PostgreSQL.
type Worker struct {
	redis    redis.UniversalClient
	lanes    map[string]*lane.Lane
	options  WorkerOptions
	started  atomic.Bool
	stopping chan struct{} // closed when the worker is to stop
	handler  *taskHandler
	drainer  *drainer
	crashed  []*crashedWork // one a lane
	orphans  *orphanSearch
	waiting  *waitingCounter
	healers  []*waitingHealer // one a lane
	logger   *slog.Logger
}

// NewWorker returns a worker that writes with writer. Run starts it; the
// monitor's Run must run, too.
func NewWorker(connections *Connections, lanes []*lane.Lane, monitor *Monitor, writer *store.Writer, options WorkerOptions, logger *slog.Logger) *Worker {
	byName := make(map[string]*lane.Lane)
	for _, l := range lanes {
		byName[l.Name] = l
	}
	inspector := NewInspector(connections, lanes)
	stopping := make(chan struct{})
	handler := &taskHandler{lanes: byName, writer: writer, stopping: stopping, waiting: monitor.waiting, logger: logger}
	drainer := newDrainer(inspector, handler, logger)
	monitor.observe(drainer.observe)
	crashed := make([]*crashedWork, len(lanes))
	healers := make([]*waitingHealer, len(lanes))
	for i, l := range lanes {
		crashed[i] = &crashedWork{client: connections.Work, lane: l}
		healers[i] = &waitingHealer{client: connections.Work, lane: l}
	}
	return &Worker{
		redis: connections.Work, lanes: byName, options: options, crashed: crashed,
		orphans: newOrphanSearch(connections.Work, lanes, logger),
		waiting: monitor.waiting, healers: healers,
		stopping: stopping, handler: handler, drainer: drainer,
		logger: logger,
	}
}

const (
	// taskCheckInterval is how long an idle worker waits before it looks for
	// tasks again: asynq polls. Each time costs four commands.
	taskCheckInterval = 100 * time.Millisecond

	// retryCheckInterval is how often asynq looks for tasks whose next try is
	// due.
	retryCheckInterval = 2 * time.Second

	// maxRetryDelay is the longest that a task waits for another try.
	maxRetryDelay = 20 * time.Second

	// maintenanceInterval is how often maintain is called.
	maintenanceInterval = 5 * time.Second
)

// Run processes tasks until ctx ends, then finishes the batches that are being
// written, for at most ShutdownTimeout, and hands the others back. While Redis
// is down, at the start or later, it waits for it. It returns nil after that,
// and an error at once when the worker cannot start. A Worker runs once: the
// second call of Run is such an error.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("start the worker: it was run before")
	}
	if !w.waitForRedis(ctx) {
		return nil
	}
	server := asynq.NewServerFromRedisClient(w.redis, w.serverConfig())
	if err := server.Start(w.handler); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}

	var background sync.WaitGroup
	background.Go(func() { every(ctx, maintenanceInterval, func() { w.maintain(ctx) }) })
	background.Go(func() { w.orphans.run(ctx) })
	background.Go(func() { w.drainer.run(ctx) })
	<-ctx.Done()
	close(w.stopping)
	server.Shutdown()
	background.Wait()
	w.flushWaiting()
	return nil
}

// flushWaiting counts what was written last, since the monitor may have ended.
func (w *Worker) flushWaiting() {
	ctx, cancel := context.WithTimeout(context.Background(), InspectTimeout)
	defer cancel()
	if err := w.waiting.flush(ctx); err != nil {
		w.logger.Debug("the last points that were written still count as waiting", "error", err)
	}
}

func (w *Worker) serverConfig() asynq.Config {
	return asynq.Config{
		Concurrency:              w.options.Concurrency,
		Queues:                   w.options.Weights,
		TaskCheckInterval:        taskCheckInterval,
		DelayedTaskCheckInterval: retryCheckInterval,
		ShutdownTimeout:          w.options.ShutdownTimeout,
		GroupGracePeriod:         w.options.Batching.GracePeriod,
		GroupMaxDelay:            w.options.Batching.MaxDelay,
		// groups.next leaves a group once it holds MinPoints points, so this
		// many tasks are a batch if each has one point.
		GroupMaxSize: w.options.Batching.MinPoints,
		GroupAggregator: &aggregator{
			client: asynq.NewClientFromRedisClient(w.redis),
			lanes:  w.lanes, batching: w.options.Batching, logger: w.logger,
		},
		RetryDelayFunc: retryDelay,
		// Retries are unlimited: no failure is the task's fault, since the
		// handler dead-letters what the database refuses.
		IsFailure: func(error) bool { return false },
		Logger:    asynqLogger{w.logger},
		LogLevel:  asynq.InfoLevel,
	}
}

// waitForRedis returns true when Redis responds, false when ctx ends first.
func (w *Worker) waitForRedis(ctx context.Context) bool {
	reported := false
	for {
		err := w.redis.Ping(ctx).Err()
		if err == nil {
			return true
		}
		if ctx.Err() == nil && !reported {
			reported = true
			w.logger.Warn("the worker waits for Redis", "error", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(errorBackoff):
		}
	}
}

// registerQueues makes queues known to asynq's tools, which list a queue only after
// its first task, and none when Redis has lost its data.
func registerQueues(ctx context.Context, client redis.UniversalClient, names []string) error {
	if err := client.SAdd(ctx, queuesKey, names).Err(); err != nil {
		return fmt.Errorf("register the queues: %w", err)
	}
	return nil
}

// maintain registers the queues, gives back to them what crashes took away and
// operators archived, and corrects times in the future.
func (w *Worker) maintain(ctx context.Context) {
	if err := registerQueues(ctx, w.redis, slices.Collect(maps.Keys(w.lanes))); err != nil && ctx.Err() == nil {
		w.logger.Warn("queues that are empty do not show in the web UI", "error", err)
	}
	for _, c := range w.crashed {
		batches, groups, err := c.recover(ctx, time.Now())
		if batches+groups > 0 {
			w.logger.Warn("a worker has crashed; what it had in hand is queued again",
				"lane", c.lane.Name, "batches", batches, "groups", groups)
		}
		if err != nil && ctx.Err() == nil {
			w.logger.Warn("the work of crashed workers was not searched for", "error", err)
		}
	}
	for _, h := range w.healers {
		healed, err := h.heal(ctx)
		if healed {
			w.logger.Info("the number of waiting points was wrong and is 0 again", "lane", h.lane.Name)
		}
		if err != nil && ctx.Err() == nil {
			w.logger.Warn("the number of waiting points was not checked", "error", err)
		}
	}
	for _, l := range w.lanes {
		groups, err := recoverOrphanedGroups(ctx, w.redis, l)
		if groups > 0 {
			w.logger.Info("recovered groups that a crash had orphaned", "lane", l.Name, "groups", groups)
		}
		corrected, clockErr := correctScores(ctx, w.redis, l, time.Now)
		if corrected > 0 {
			w.logger.Warn("tasks had times in the future: the clocks of the processes differ",
				"lane", l.Name, "tasks", corrected)
		}
		archived, archiveErr := runArchived(ctx, w.redis, l, time.Now())
		if archived > 0 {
			w.logger.Warn("an operator archived tasks; they are queued again", "lane", l.Name, "tasks", archived)
		}
		if err := errors.Join(err, clockErr, archiveErr); err != nil && ctx.Err() == nil {
			w.logger.Warn("a queue was not maintained", "error", err)
		}
	}
}

// retryDelay spreads the next tries of failed tasks over maxRetryDelay. A task
// that a stopping worker handed back, or that a killed one had, is due at once.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, errStopping) || errors.Is(err, asynq.ErrLeaseExpired) {
		return 0
	}
	return maxRetryDelay/4 + rand.N(maxRetryDelay*3/4)
}

// asynqLogger sends asynq's messages to slog, its routine ones as debug.
type asynqLogger struct{ logger *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.logger.Debug(asynqMessage(args)) }
func (l asynqLogger) Info(args ...any)  { l.logger.Debug(asynqMessage(args)) }
func (l asynqLogger) Warn(args ...any)  { l.logger.Warn(asynqMessage(args)) }
func (l asynqLogger) Error(args ...any) { l.logger.Error(asynqMessage(args)) }
func (l asynqLogger) Fatal(args ...any) { l.logger.Error(asynqMessage(args)) }

func asynqMessage(args []any) string { return "asynq: " + fmt.Sprint(args...) }
