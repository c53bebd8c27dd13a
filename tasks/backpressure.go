package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"tracklane/internal/lane"
)

// backpressure tells when Redis holds as many points as it may. It looks once a
// second and counts in between what this process adds.
type backpressure struct {
	inspector *Inspector
	replay    *replayBuffer // hears of each look
	maxPoints int
	logger    *slog.Logger

	waiting atomic.Int64 // points, in all queues
	memory  atomic.Int64 // thousandths of Redis's maxmemory that are in use
	full    atomic.Bool  // for the log: some lane was refused since it last was not
}

const (
	// refreshInterval is how often Redis is looked at.
	refreshInterval = time.Second

	// maxMemory is the share of Redis's maxmemory, in thousandths, that points
	// may fill. The workers need the rest: at maxmemory Redis does not let them
	// take tasks off the queues either.
	maxMemory = 850

	// headroomPerPriority is the share of both bounds, in thousandths, that each step of
	// priority keeps free for the one above it.
	headroomPerPriority = 100
)

// admit tells whether a lane's next points may go to Redis. The most urgent
// lane is the last to be refused.
func (p *backpressure) admit(l *lane.Lane) bool {
	share := int64(1000 - headroomPerPriority*(l.Priority-1))
	ok := p.waiting.Load() < int64(p.maxPoints)*share/1000 && p.memory.Load() < maxMemory*share/1000
	if !ok && !p.full.Swap(true) {
		p.logger.Warn("Redis holds as many points as it may; new ones go straight to the database",
			"lane", l.Name, "waiting_points", p.waiting.Load(), "memory_percent", p.memory.Load()/10)
	}
	return ok
}

// recordEnqueued counts points that this process put into Redis.
func (p *backpressure) recordEnqueued(points int) { p.waiting.Add(int64(points)) }

// run looks at Redis until ctx ends.
func (p *backpressure) run(ctx context.Context) {
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	for {
		p.refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// refresh reads both figures. While Redis cannot be asked they stay: the breaker
// decides then.
func (p *backpressure) refresh(ctx context.Context) {
	asked := time.Now()
	redis := p.inspector.Redis(ctx)
	if !redis.Connected {
		return
	}
	p.replay.observeRunID(ctx, redis.RunID, asked)
	memory := int64(0)
	if redis.MaxMemory > 0 {
		memory = redis.UsedMemory * 1000 / redis.MaxMemory
	}
	p.memory.Store(memory)
	queues, err := p.inspector.Queues()
	if err != nil {
		return // Redis failed meanwhile
	}
	total := 0
	for _, l := range p.inspector.lanes {
		backlog, err := p.inspector.Backlog(ctx, l, queues[l.Name])
		if err != nil {
			return
		}
		total += backlog.Points
	}
	p.waiting.Store(int64(total))
	lowest := int64(1000 - headroomPerPriority*(len(p.inspector.lanes)-1))
	if int64(total) < int64(p.maxPoints)*lowest/1000 && memory < maxMemory*lowest/1000 && p.full.Swap(false) {
		p.logger.Info("Redis takes points of every lane again")
	}
}
