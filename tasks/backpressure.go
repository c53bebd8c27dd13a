package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"

	"tracklane/internal/lane"
)

// backpressure keeps new points away from a Redis that holds as many as it
// may. It counts what this process enqueues between two refreshes. Any number
// of goroutines may use one at the same time.
type backpressure struct {
	maxPoints      int // in all queues together
	lowestPriority int // of the lanes
	waitingPoints  func(context.Context) (int, error)
	logger         *slog.Logger

	waiting atomic.Int64 // points, in all queues
	memory  fraction     // of Redis's maxmemory that is in use
	full    atomic.Bool  // for the log: some lane was refused since all were last admitted
}

// newBackpressure returns a backpressure that admits every lane until its first
// refresh. waitingPoints counts the points in all queues.
func newBackpressure(lanes []*lane.Lane, maxPoints int, waitingPoints func(context.Context) (int, error), logger *slog.Logger) *backpressure {
	b := &backpressure{maxPoints: maxPoints, waitingPoints: waitingPoints, logger: logger}
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

// admit reports whether a lane's next points may go to Redis. The most urgent
// lane is the last to be refused.
func (b *backpressure) admit(l *lane.Lane) bool {
	ok := b.below(l.Priority)
	if !ok && !b.full.Swap(true) {
		b.logger.Warn("Redis holds as many points as it may; new ones go straight to the database",
			"lane", l.Name, "waiting_points", b.waiting.Load(), "memory_percent", int(100*b.memory.load()))
	}
	return ok
}

// below reports whether Redis holds less than it may for lanes of a priority.
func (b *backpressure) below(priority int) bool {
	share := 1 - headroomPerPriority*float64(priority-1)
	return float64(b.waiting.Load()) < float64(b.maxPoints)*share && b.memory.load() < maxMemoryUsage*share
}

// recordEnqueued counts points that this process enqueues.
func (b *backpressure) recordEnqueued(points int) { b.waiting.Add(int64(points)) }

// refresh replaces what is known of Redis by a reading, and by the number of
// points that wait. While Redis cannot be asked both stay: the breaker decides
// then.
func (b *backpressure) refresh(ctx context.Context, r reading) {
	if !r.Connected {
		return
	}
	b.memory.store(r.memoryUsage())
	waiting, err := b.waitingPoints(ctx)
	if err != nil {
		return // Redis failed meanwhile
	}
	b.waiting.Store(int64(waiting))
	// One step to spare, so that the log does not flap.
	if b.below(b.lowestPriority+1) && b.full.Swap(false) {
		b.logger.Info("Redis accepts points of every lane again")
	}
}
