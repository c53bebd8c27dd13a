package tasks

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tracklane/internal/lane"
)

// recent keeps a second copy of what Redis acknowledged lately, and gives it to
// Redis again when that was restarted. A Redis with appendfsync everysec holds
// writes back for up to two seconds while its disk is busy, though it has
// acknowledged them; killed at that moment it loses them. So does a replica
// that takes over. What was not lost is then queued twice and stored once.
type recent struct {
	enqueuer *Enqueuer
	logger   *slog.Logger

	mu      sync.Mutex
	entries []acknowledged // oldest first
	bytes   int
	runID   string // of the Redis that acknowledged them
}

// acknowledged is one task that Redis has.
type acknowledged struct {
	at      time.Time
	lane    *lane.Lane
	payload []byte
}

const (
	// recentAge is after how long Redis has certainly written what it
	// acknowledged, as long as it still runs.
	recentAge = 5 * time.Second

	// recentBytes bounds the copies; of more than that the newest are kept.
	recentBytes = 16 << 20
)

// add keeps a payload that Redis has acknowledged. The payload must not change
// any more.
func (r *recent) add(l *lane.Lane, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, acknowledged{time.Now(), l, payload})
	r.bytes += len(payload)
	for r.bytes > recentBytes {
		r.dropOldest()
	}
}

func (r *recent) dropOldest() {
	r.bytes -= len(r.entries[0].payload)
	r.entries[0].payload = nil
	r.entries = r.entries[1:]
}

// seen is called with the run id that Redis answered to a question asked at
// asked. A Redis that still runs has by then written what is older than
// recentAge; one that was restarted gets all of it again.
func (r *recent) seen(ctx context.Context, runID string, asked time.Time) {
	r.mu.Lock()
	if r.runID == "" {
		r.runID = runID
	}
	if r.runID == runID {
		for len(r.entries) > 0 && asked.Sub(r.entries[0].at) > recentAge {
			r.dropOldest()
		}
		r.mu.Unlock()
		return
	}
	again := r.entries
	r.entries, r.bytes = nil, 0
	r.mu.Unlock()

	r.logger.Info("Redis was restarted; it gets again what it acknowledged last", "tasks", len(again))
	for i, entry := range again {
		if err := r.enqueuer.again(ctx, entry.lane, entry.payload); err != nil {
			r.logger.Warn("Redis did not take again what it had acknowledged; trying once more", "error", err)
			r.putBack(again[i:])
			return
		}
	}
	r.mu.Lock()
	r.runID = runID
	r.mu.Unlock()
}

// putBack keeps entries that are still to be given to the new Redis.
func (r *recent) putBack(entries []acknowledged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(entries, r.entries...)
	for _, entry := range entries {
		r.bytes += len(entry.payload)
	}
}
