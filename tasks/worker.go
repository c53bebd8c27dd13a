package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
	"tracklane/store"
)

// WorkerOptions says how a worker takes tasks off the queues.
type WorkerOptions struct {
	Concurrency int            // batches written at the same time
	Weights     map[string]int // of the queues, by lane
	Batching    Batching

	// ShutdownTimeout is how long Run waits, once its context has ended, for
	// batches that are being written.
	ShutdownTimeout time.Duration
}

// Worker takes batches off the lanes' queues and writes them.
type Worker struct {
	redis     redis.UniversalClient
	inspector *Inspector
	lanes     map[string]*lane.Lane
	options   WorkerOptions
	handler   *taskHandler
	logger    *slog.Logger
}

// NewWorker returns a worker that writes with writer. Run starts it.
func NewWorker(connections *Connections, lanes []*lane.Lane, writer *store.Writer, options WorkerOptions, logger *slog.Logger) *Worker {
	byName := make(map[string]*lane.Lane)
	for _, l := range lanes {
		byName[l.Name] = l
	}
	return &Worker{
		redis:     connections.Work,
		inspector: NewInspector(connections, lanes),
		lanes:     byName,
		options:   options,
		handler:   &taskHandler{lanes: byName, writer: writer, logger: logger},
		logger:    logger,
	}
}

const (
	// taskCheckInterval is how long an idle worker waits before it looks for
	// tasks again: asynq polls. It costs four commands a look.
	taskCheckInterval = 100 * time.Millisecond

	// retryCheckInterval is how often tasks that wait for another try are
	// looked through.
	retryCheckInterval = 2 * time.Second

	// maxRetryDelay is the longest that a task waits for another try.
	maxRetryDelay = 20 * time.Second

	// maintenanceInterval is how often orphaned groups are searched for.
	maintenanceInterval = 20 * time.Second
)

// Run processes tasks until ctx ends, then finishes the batches that are being
// written and hands the others back. While Redis is away, at the start or
// later, it waits for it.
func (w *Worker) Run(ctx context.Context) {
	if !w.waitForRedis(ctx) {
		return
	}
	stopping, stop := context.WithCancel(context.Background())
	defer stop()
	w.handler.stopping = stopping.Done()

	server := asynq.NewServerFromRedisClient(w.redis, asynq.Config{
		Concurrency:              w.options.Concurrency,
		Queues:                   w.options.Weights,
		TaskCheckInterval:        taskCheckInterval,
		DelayedTaskCheckInterval: retryCheckInterval,
		ShutdownTimeout:          w.options.ShutdownTimeout,
		GroupGracePeriod:         w.options.Batching.GracePeriod,
		GroupMaxDelay:            w.options.Batching.MaxDelay,
		// A group is begun anew once it holds MinPoints points, so this many
		// tasks are a batch if each has one point.
		GroupMaxSize: w.options.Batching.MinPoints,
		GroupAggregator: &aggregator{
			client: asynq.NewClientFromRedisClient(w.redis),
			lanes:  w.lanes, batching: w.options.Batching, logger: w.logger,
		},
		RetryDelayFunc: retryDelay,
		// No task is ever to blame for its failure: what the database refuses
		// is put aside by the handler.
		IsFailure: func(error) bool { return false },
		Logger:    asynqLogger{w.logger},
		LogLevel:  asynq.InfoLevel,
	})
	if err := server.Start(w.handler); err != nil {
		// Only a server that was started before returns an error.
		w.logger.Error("the worker did not start", "error", err)
		return
	}

	var background sync.WaitGroup
	background.Go(func() { w.maintain(ctx) })
	drainer := &drainer{inspector: w.inspector, handler: w.handler, logger: w.logger}
	background.Go(func() { drainer.run(ctx) })
	<-ctx.Done()
	stop()
	server.Shutdown()
	background.Wait()
}

// waitForRedis returns true when Redis answers, false when ctx ends first.
func (w *Worker) waitForRedis(ctx context.Context) bool {
	reported := false
	for {
		err := w.redis.Ping(ctx).Err()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !reported {
			reported = true
			w.logger.Warn("the worker waits for Redis", "error", err)
		}
	}
}

// registerQueues makes the queues known to asynq's tools, which list a queue
// only after its first task, and none when Redis has lost its data.
func (w *Worker) registerQueues(ctx context.Context) {
	var names []any
	for name := range w.lanes {
		names = append(names, name)
	}
	if err := w.redis.SAdd(ctx, queuesKey, names...).Err(); err != nil && ctx.Err() == nil {
		w.logger.Warn("queues that are empty do not show in the web UI", "error", err)
	}
}

// maintain keeps the queues registered and recovers orphaned groups, now and
// then every maintenanceInterval, until ctx ends.
func (w *Worker) maintain(ctx context.Context) {
	ticker := time.NewTicker(maintenanceInterval)
	defer ticker.Stop()
	for {
		w.registerQueues(ctx)
		for _, l := range w.lanes {
			recovered, err := recoverOrphanedGroups(ctx, w.redis, l)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				w.logger.Warn("orphaned groups were not searched for", "error", err)
			case recovered > 0:
				w.logger.Info("recovered groups that a crash had orphaned", "lane", l.Name, "groups", recovered)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// retryDelay spreads tasks that come back over maxRetryDelay, but for those
// that a stopping worker hands to the others, or that a killed one had.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, errStopping) || errors.Is(err, asynq.ErrLeaseExpired) {
		return 0
	}
	return maxRetryDelay/4 + rand.N(maxRetryDelay*3/4)
}

// asynqLogger sends asynq's own words to slog.
type asynqLogger struct{ logger *slog.Logger }

func (l asynqLogger) Debug(words ...any) { l.logger.Debug(asynqMessage(words)) }
func (l asynqLogger) Info(words ...any)  { l.logger.Debug(asynqMessage(words)) }
func (l asynqLogger) Warn(words ...any)  { l.logger.Warn(asynqMessage(words)) }
func (l asynqLogger) Error(words ...any) { l.logger.Error(asynqMessage(words)) }
func (l asynqLogger) Fatal(words ...any) { l.logger.Error(asynqMessage(words)) }

func asynqMessage(words []any) string { return "asynq: " + fmt.Sprint(words...) }
