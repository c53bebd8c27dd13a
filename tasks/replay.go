package tasks

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tracklane/internal/lane"
)

// replayBuffer keeps a second copy of what Redis acknowledged lately, and gives it to
// Redis again when that was restarted. A Redis with appendfsync everysec holds
// writes back for up to two seconds while its disk is busy, though it has
// acknowledged them; killed at that moment it loses them. So does a replica
// that takes over. What was not lost is then queued twice and stored once.
type replayBuffer struct {
	enqueuer *Enqueuer
	logger   *slog.Logger

	mu      sync.Mutex
	entries []entry // oldest first
	bytes   int
	runID   string // of the Redis that acknowledged them
}

// entry is one task that Redis has.
type entry struct {
	at      time.Time
	lane    *lane.Lane
	payload []byte
}

const (
	// replayAge is after how long Redis has certainly written what it
	// acknowledged, as long as it still runs.
	replayAge = 5 * time.Second

	// replayBytes bounds the copies; of more than that the newest are kept.
	replayBytes = 16 << 20
)

// add keeps a payload that Redis has acknowledged. The payload must not change
// any more.
func (r *replayBuffer) add(l *lane.Lane, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, entry{time.Now(), l, payload})
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

// observeRunID is called with the run id that Redis answered to a question asked at
// asked. A Redis that still runs has by then written what is older than
// replayAge; one that was restarted gets all of it again.
func (r *replayBuffer) observeRunID(ctx context.Context, runID string, asked time.Time) {
	r.mu.Lock()
	if r.runID == "" {
		r.runID = runID
	}
	if r.runID == runID {
		for len(r.entries) > 0 && asked.Sub(r.entries[0].at) > replayAge {
			r.dropOldest()
		}
		r.mu.Unlock()
		return
	}
	again := r.entries
	r.entries, r.bytes = nil, 0
	r.mu.Unlock()

	r.logger.Info("Redis was restarted; it gets again what it acknowledged last", "tasks", len(again))
	for i, e := range again {
		if err := r.enqueuer.requeue(ctx, e.lane, e.payload); err != nil {
			r.logger.Warn("Redis did not take again what it had acknowledged; trying once more", "error", err)
			r.requeueLater(again[i:])
			return
		}
	}
	r.mu.Lock()
	r.runID = runID
	r.mu.Unlock()
}

// requeueLater keeps entries that are still to be given to the new Redis.
func (r *replayBuffer) requeueLater(entries []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(entries, r.entries...)
	for _, e := range entries {
		r.bytes += len(e.payload)
	}
}
