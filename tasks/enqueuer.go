package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"tracklane/internal/lane"
)

// Batching says how points are cut into batch tasks and coalesced.
type Batching struct {
	MinPoints, MaxPoints  int // of a batch task; MaxPoints >= 2*MinPoints-1
	GracePeriod, MaxDelay time.Duration
}

// The types of task, behind the lane's name and a colon.
const (
	smallTask = "points" // waits in an aggregation group
	batchTask = "batch"  // is written as it is
)

func taskType(l *lane.Lane, kind string) string { return l.Name + ":" + kind }

// taskTimeout bounds one try of a task.
const taskTimeout = 2 * time.Minute

// taskOptions keeps a task alive until it is written: failures that a task is
// not to blame for do not count, and no others exist.
func taskOptions() []asynq.Option {
	return []asynq.Option{asynq.MaxRetry(math.MaxInt32), asynq.Timeout(taskTimeout)}
}

// Enqueuer puts points into the lanes' queues. Any number of goroutines may
// use one at the same time.
type Enqueuer struct {
	client       *asynq.Client
	breaker      *breaker
	backpressure *backpressure
	replay       *replayBuffer
	batching     Batching
	timeout      time.Duration
	logger       *slog.Logger
	batchers     map[string]*batcher
}

// EnqueuerOptions says how an enqueuer works.
type EnqueuerOptions struct {
	Batching Batching

	// Timeout is what Redis has to take the points of a request.
	Timeout time.Duration

	// MaxWaitingPoints is how many points may wait in Redis.
	MaxWaitingPoints int
}

// NewEnqueuer returns an enqueuer. Run must run while it is used.
func NewEnqueuer(connections *Connections, lanes []*lane.Lane, options EnqueuerOptions, logger *slog.Logger) *Enqueuer {
	e := &Enqueuer{
		client:  asynq.NewClientFromRedisClient(connections.Enqueue),
		breaker: newBreaker(connections.Enqueue, options.Timeout, logger),
		backpressure: &backpressure{
			inspector: NewInspector(connections, lanes), maxPoints: options.MaxWaitingPoints, logger: logger,
		},
		batching: options.Batching,
		timeout:  options.Timeout,
		logger:   logger,
		batchers: make(map[string]*batcher),
	}
	e.replay = &replayBuffer{enqueuer: e, logger: logger}
	e.backpressure.replay = e.replay
	for _, l := range lanes {
		e.batchers[l.Name] = newBatcher(e, l)
	}
	return e
}

// Run looks after a Redis that failed or is full until ctx ends. Without it,
// points go past Redis for good after the first failure.
func (e *Enqueuer) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { e.breaker.run(ctx) })
	parts.Go(func() { e.backpressure.run(ctx) })
	parts.Wait()
}

// Available tells whether the next points will be sent to Redis.
func (e *Enqueuer) Available() bool { return e.breaker.closed() }

// Enqueue returns nil when Redis has acknowledged the write of all points. It
// returns ErrUnavailable at once when Redis failed a moment ago or is full, and
// an error when it did not take the points within the timeout; some or all of
// them may be queued even so, and writing them again is harmless.
func (e *Enqueuer) Enqueue(ctx context.Context, points *lane.Points) error {
	if !e.breaker.closed() || !e.backpressure.admit(points.Lane) {
		return ErrUnavailable
	}
	e.backpressure.recordEnqueued(points.Len())
	if points.Len() < e.batching.MinPoints {
		return e.batchers[points.Lane.Name].submit(Encode(nil, points), points.Len())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.timeout)
	defer cancel()
	return e.write(func() error { return e.enqueueSplit(ctx, points) })
}

// forceTimeout is how long Redis has to acknowledge points that PostgreSQL did
// not accept either.
const forceTimeout = time.Second

// EnqueueBypassingBreaker is Enqueue for points that PostgreSQL did not accept:
// it asks Redis even if Redis failed a moment ago, and waits for it up to
// forceTimeout. It returns nil when Redis has acknowledged all points,
// ErrUnavailable when Redis is full, and otherwise the error of the write, after
// which some of the points may be queued.
func (e *Enqueuer) EnqueueBypassingBreaker(ctx context.Context, points *lane.Points) error {
	if !e.backpressure.admit(points.Lane) {
		return ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forceTimeout)
	defer cancel()
	if points.Len() >= e.batching.MinPoints {
		return e.enqueueSplit(ctx, points)
	}
	return e.enqueuePayload(ctx, points.Lane, Encode(nil, points), points.Len())
}

// write lets the breaker watch a write, and logs its failure.
func (e *Enqueuer) write(write func() error) error {
	err := e.breaker.do(write)
	if err != nil && err != ErrUnavailable {
		e.logger.Error("Redis did not take points; they go straight to the database", "error", err)
	}
	return err
}

// enqueueSplit enqueues the points of a large request as batch tasks.
func (e *Enqueuer) enqueueSplit(ctx context.Context, points *lane.Points) error {
	from := 0
	for _, size := range splitEvenly(points.Len(), e.batching.MaxPoints) {
		part := points.Slice(from, from+size)
		if err := e.enqueueBatch(ctx, points.Lane, Encode(nil, part)); err != nil {
			return err
		}
		from += size
	}
	return nil
}

// enqueuePayload enqueues a payload of at most a batch's worth of points: as a
// batch, or as a task that waits in a group.
func (e *Enqueuer) enqueuePayload(ctx context.Context, l *lane.Lane, payload []byte, points int) error {
	if points >= e.batching.MinPoints {
		return e.enqueueBatch(ctx, l, payload)
	}
	return e.enqueueSmall(ctx, l, e.batchers[l.Name].groups.next(points, time.Now()), payload)
}

func (e *Enqueuer) enqueueBatch(ctx context.Context, l *lane.Lane, payload []byte) error {
	task := asynq.NewTask(taskType(l, batchTask), payload, taskOptions()...)
	if _, err := e.client.EnqueueContext(ctx, task, asynq.Queue(l.Name)); err != nil {
		return fmt.Errorf("enqueue a batch of the lane %s: %w", l.Name, err)
	}
	e.replay.add(l, payload)
	return nil
}

func (e *Enqueuer) enqueueSmall(ctx context.Context, l *lane.Lane, group string, payload []byte) error {
	task := asynq.NewTask(taskType(l, smallTask), payload, taskOptions()...)
	if _, err := e.client.EnqueueContext(ctx, task, asynq.Queue(l.Name), asynq.Group(group)); err != nil {
		return fmt.Errorf("enqueue points of the lane %s: %w", l.Name, err)
	}
	e.replay.add(l, payload)
	return nil
}

// requeue enqueues a payload that Redis acknowledged before and may have lost.
func (e *Enqueuer) requeue(ctx context.Context, l *lane.Lane, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, forceTimeout)
	defer cancel()
	points, err := Count(payload)
	if err != nil {
		return fmt.Errorf("enqueue again: %w", err)
	}
	return e.enqueuePayload(ctx, l, payload, points)
}

// splitEvenly divides points into as few parts of at most limit as can be, as even as
// can be: 1,001 points with a limit of 1,000 are 501 and 500.
func splitEvenly(points, limit int) []int {
	parts := (points + limit - 1) / limit
	sizes := make([]int, parts)
	for i := range sizes {
		sizes[i] = points / parts
		if i < points%parts {
			sizes[i]++
		}
	}
	return sizes
}
