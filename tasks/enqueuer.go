package tasks

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"tracklane/internal/lane"
	"tracklane/store"
)

// Batching says how points are divided into batch tasks and coalesced.
type Batching struct {
	// MinPoints and MaxPoints bound a batch task. MaxPoints must be at least
	// 2*MinPoints-1, so that every number of points from MinPoints on divides
	// into batch tasks.
	MinPoints, MaxPoints int

	// GracePeriod is how long asynq waits for another task of a group before it
	// aggregates the group, and MaxDelay how long it waits in all.
	GracePeriod, MaxDelay time.Duration
}

// Enqueuer admits points and puts them into the lanes' queues. Any number of
// goroutines may use one at the same time.
type Enqueuer struct {
	minPoints int
	maxPoints int
	timeout   time.Duration
	admission *admission
	batchers  map[string]*batcher[[]byte] // of payloads, by the lane's name
	breaker   *breaker
	publisher *publisher
}

// EnqueuerOptions says how an enqueuer works. All of them are required.
type EnqueuerOptions struct {
	Batching Batching

	// Timeout is how long Redis has to acknowledge the points of a request.
	Timeout time.Duration

	// MaxWaitingPoints is how many points may wait in Redis, in all queues.
	MaxWaitingPoints int
}

// NewEnqueuer returns an enqueuer. Run, and the monitor's, must run while it is
// used. Points that Redis acknowledged and may forget are written with writer.
func NewEnqueuer(connections *Connections, lanes []*lane.Lane, monitor *Monitor, writer *store.Writer, options EnqueuerOptions, logger *slog.Logger) *Enqueuer {
	admission := &admission{backpressure: newBackpressure(lanes, options.MaxWaitingPoints, monitor.waiting, logger)}
	monitor.observe(admission.backpressure.refresh)
	replay := newReplayBuffers(connections.Enqueue, lanes, writer, admission.copiesFull.Store, logger)
	publisher := newPublisher(connections.Enqueue, lanes, options.Batching, replay, monitor.waiting)
	for _, r := range replay.all {
		r.publish = publisher.republish
	}
	breaker := newBreaker(replay.probe, options.Timeout, admission.redisFailed.Store, logger)
	batchers := make(map[string]*batcher[[]byte])
	for _, l := range lanes {
		batchers[l.Name] = newBatcher(options.Batching, 1, // more share a round trip then
			func(since time.Time, payloads [][]byte, points int) error {
				// No request waits for longer than the timeout.
				ctx, cancel := context.WithDeadline(context.Background(), since.Add(options.Timeout))
				defer cancel()
				payload := slices.Concat(payloads...)
				return breaker.do(ctx, func(ctx context.Context) error { return publisher.publish(ctx, l, payload, points) })
			})
	}
	return &Enqueuer{
		minPoints: options.Batching.MinPoints, maxPoints: options.Batching.MaxPoints, timeout: options.Timeout,
		admission: admission, batchers: batchers, breaker: breaker, publisher: publisher,
	}
}

// Run watches Redis until ctx ends. Without it, points bypass Redis for good
// after its first failure.
func (e *Enqueuer) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { e.breaker.run(ctx) })
	parts.Go(func() { e.publisher.replay.run(ctx) })
	if isCluster(e.publisher.redis) { // see connClient.SAdd
		parts.Go(func() {
			every(ctx, maintenanceInterval, func() { _ = registerQueues(ctx, e.publisher.redis, slices.Collect(maps.Keys(e.batchers))) })
		})
	}
	parts.Wait()
}

// Flush returns when Redis cannot forget any more what it acknowledged, or
// PostgreSQL has it too, or ctx ends, which it logs. Nothing may be enqueued after
// it is called.
func (e *Enqueuer) Flush(ctx context.Context) { e.publisher.replay.flush(ctx) }

// Available reports whether the next points will be sent to Redis, as far as
// its failures decide.
func (e *Enqueuer) Available() bool { return !e.admission.redisFailed.Load() }

// Admits reports whether Redis has room for a lane's next points.
func (e *Enqueuer) Admits(l *lane.Lane) bool { return e.admission.hasRoom(l) }

// Enqueue returns nil when Redis has acknowledged the write of all points. It
// returns ErrUnavailable at once when Redis failed a moment ago or is full, and
// otherwise the error of the write when Redis did not acknowledge it within the
// timeout; each batch of a large request has it, and at least largeTimeout if they
// are several, for itself. Some or all points may be queued after an error; writing
// them again is harmless. The end of ctx does not end a write: the points are
// queued even when the client has gone.
func (e *Enqueuer) Enqueue(ctx context.Context, points *lane.Points) error {
	if !e.admission.admit(points) {
		return ErrUnavailable
	}
	defer e.admission.release(points)
	if points.Len() < e.minPoints {
		return e.batchers[points.Lane.Name].submit(Encode(nil, points), points.Len())
	}
	// A request of many points is many round trips. Each has a timeout for itself:
	// that all of them together take longer says nothing about Redis.
	timeout := e.timeout
	if points.Len() > e.maxPoints {
		timeout = max(timeout, largeTimeout)
	}
	return e.publisher.publishPoints(points, func(write func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return e.breaker.do(ctx, write)
	})
}

// largeTimeout is how long Redis has at least to acknowledge each batch of a
// request that makes several: it must not take all lanes off Redis because one of
// its large writes was slow, and its client is used to waiting.
const largeTimeout = time.Second

// forceTimeout is how long Redis has to acknowledge points that PostgreSQL did
// not accept either.
const forceTimeout = time.Second

// EnqueueBypassingBreaker is Enqueue for points that PostgreSQL did not accept:
// it asks Redis even if Redis failed a moment ago, and waits for it up to
// forceTimeout. It returns nil when Redis has acknowledged all points,
// ErrUnavailable when Redis is full, and otherwise the error of the write, after
// which some of the points may be queued.
func (e *Enqueuer) EnqueueBypassingBreaker(ctx context.Context, points *lane.Points) error {
	if !e.admission.admitToFailed(points) {
		return ErrUnavailable
	}
	defer e.admission.release(points)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forceTimeout)
	defer cancel()
	return e.publisher.publishPoints(points, func(write func(context.Context) error) error { return write(ctx) })
}
