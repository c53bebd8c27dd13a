package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"

	"tracklane/internal/lane"
)

// backpressure keeps new points away from a Redis that holds as many as it
// may. Any number of goroutines may use one at the same time.
type backpressure struct {
	maxPoints      int // in all queues together
	lowestPriority int // of the lanes
	waiting        *waitingCounter
	logger         *slog.Logger

	memory fraction    // of Redis's maxmemory that is in use
	full   atomic.Bool // for the log: some lane was refused since all were last admitted
}

// newBackpressure returns a backpressure that admits maxPoints points until its
// first refresh.
func newBackpressure(lanes []*lane.Lane, maxPoints int, waiting *waitingCounter, logger *slog.Logger) *backpressure {
	b := &backpressure{maxPoints: maxPoints, waiting: waiting, logger: logger}
	for _, l := range lanes {
		b.lowestPriority = max(b.lowestPriority, l.Priority)
	}
	return b
}

const (
	// maxMemoryUsage is the fraction of Redis's maxmemory that points may fill.
	// The workers need the rest: at maxmemory Redis does not let them take
	// tasks off the queues either.
	maxMemoryUsage = 0.85

	// headroomPerPriority is the fraction of both bounds that each step of
	// priority keeps free for the one above it.
	headroomPerPriority = 0.1
)

// admit reports whether points may go to Redis, and counts them as waiting until
// they are released. The most urgent lane is the last to be refused.
func (b *backpressure) admit(points *lane.Points) bool {
	priority := points.Lane.Priority
	ok := b.memory.load() < maxMemoryUsage*share(priority) && b.waiting.reserve(points.Len(), float64(b.maxPoints)*share(priority))
	if !ok && !b.full.Swap(true) {
		b.logger.Warn("Redis holds as many points as it may; new ones go straight to the database",
			"lane", points.Lane.Name, "waiting_points", b.waiting.total(), "memory_percent", int(100*b.memory.load()))
	}
	return ok
}

// release is called once for points that were admitted: when their write has ended.
func (b *backpressure) release(points *lane.Points) { b.waiting.release(points.Len()) }

// below reports whether Redis holds less than it may for lanes of a priority.
func (b *backpressure) below(priority int) bool {
	return float64(b.waiting.total()) < float64(b.maxPoints)*share(priority) && b.memory.load() < maxMemoryUsage*share(priority)
}

// share is the fraction of the bounds that lanes of a priority may use.
func share(priority int) float64 { return 1 - headroomPerPriority*float64(priority-1) }

// refresh replaces what is known of Redis by a reading. While Redis cannot be asked
// it stays: the breaker decides then.
func (b *backpressure) refresh(_ context.Context, r reading) {
	if !r.Connected {
		return
	}
	b.memory.store(r.memoryUsage())
	// One step to spare, so that the log does not flap.
	if b.below(b.lowestPriority+1) && b.full.Swap(false) {
		b.logger.Info("Redis accepts points of every lane again")
	}
}
