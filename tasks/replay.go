package tasks

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tracklane/internal/lane"
)

// replayBuffer keeps a second copy of what Redis acknowledged lately, for the
// case that Redis restarts. With appendfsync everysec Redis holds writes that
// it has acknowledged back for up to two seconds while its disk is busy, and
// loses them if it is killed at that moment. So does a replica that takes over.
// What was not lost is then queued twice and stored once.
type replayBuffer struct {
	logger *slog.Logger

	mu      sync.Mutex
	entries []entry // oldest first
	bytes   int
	runID   string // of the Redis that acknowledged them
}

// entry is one task that Redis has acknowledged.
type entry struct {
	at      time.Time
	lane    *lane.Lane
	payload []byte
	points  int
}

// requeueFunc writes a payload to the lane's queue. It returns nil when Redis
// has acknowledged the write.
type requeueFunc func(ctx context.Context, l *lane.Lane, payload []byte, points int) error

const (
	// replayAge is the age at which Redis has certainly written what it
	// acknowledged, provided that it still runs.
	replayAge = 5 * time.Second

	// replayBytes bounds the copies; of more than that the newest are kept.
	replayBytes = 16 << 20
)

// add keeps a payload that Redis has acknowledged. The payload must not change
// any more.
func (r *replayBuffer) add(l *lane.Lane, payload []byte, points int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, entry{time.Now(), l, payload, points})
	r.bytes += len(payload)
	for r.bytes > replayBytes {
		r.dropOldest()
	}
}

func (r *replayBuffer) dropOldest() {
	r.bytes -= len(r.entries[0].payload)
	r.entries[0].payload = nil
	r.entries = r.entries[1:]
}

// observeRunID is told the run id that Redis had when it was asked at asked. If
// it is the one of before, Redis has by now written what is older than
// replayAge, which is dropped. If it is another one, Redis was restarted:
// observeRunID passes every entry to requeue, each within forceTimeout, and
// stops at the first error; the next call goes on from there. It calls requeue
// without its lock, because requeue adds the entry again. A Redis of which no run
// id is known, though one was before, changes nothing.
func (r *replayBuffer) observeRunID(ctx context.Context, runID string, asked time.Time, requeue requeueFunc) {
	r.mu.Lock()
	if r.runID == "" {
		r.runID = runID
	}
	if runID == "" && r.runID != "" { // it may still run, or be another one
		r.mu.Unlock()
		return
	}
	if r.runID == runID {
		for len(r.entries) > 0 && asked.Sub(r.entries[0].at) > replayAge {
			r.dropOldest()
		}
		r.mu.Unlock()
		return
	}
	lost := r.entries
	r.entries, r.bytes = nil, 0
	r.mu.Unlock()

	r.logger.Info("Redis was restarted; what it acknowledged last is queued again", "tasks", len(lost))
	for i, e := range lost {
		if err := e.requeue(ctx, requeue); err != nil {
			r.logger.Warn("Redis did not accept again what it had acknowledged; trying once more", "error", err)
			r.putBack(lost[i:])
			return
		}
	}
	r.mu.Lock()
	r.runID = runID
	r.mu.Unlock()
}

func (e entry) requeue(ctx context.Context, requeue requeueFunc) error {
	ctx, cancel := context.WithTimeout(ctx, forceTimeout)
	defer cancel()
	return requeue(ctx, e.lane, e.payload, e.points)
}

// putBack keeps entries that are still to be queued again.
func (r *replayBuffer) putBack(entries []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(entries, r.entries...)
	for _, e := range entries {
		r.bytes += len(e.payload)
	}
}
