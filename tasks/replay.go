package tasks

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
	"tracklane/store"
)

// replayBuffer keeps a second copy of what Redis acknowledged and may still
// forget: under appendfsync everysec it answers before its file is written, and
// a replica that takes over lacks what it had not received. A copy is dropped
// only once it is safe without: when Redis has it on its disk and on its
// replicas, or PostgreSQL has it. What was not lost is then queued twice and
// stored once. With appendfsync always and no replica nothing is kept. It keeps the
// copies of what one server acknowledged: on a cluster each lane has a buffer.
type replayBuffer struct {
	client  redis.UniversalClient // through whose connections points are published
	lane    *lane.Lane            // whose queue the server has
	publish requeueFunc
	writer  *store.Writer
	logger  *slog.Logger

	replicas *replicas // told how many there are

	space *replaySpace

	safe atomic.Bool // Redis cannot forget what it acknowledges

	mu      sync.Mutex
	entries []*entry // about the oldest first
	runID   string   // of the Redis that acknowledges

	checking    sync.Mutex   // held while the entries are looked after
	checkpoints []checkpoint // oldest first
	unsaved     bool         // for the log: PostgreSQL did not accept the entries either
}

// entry is one task that Redis has acknowledged.
type entry struct {
	at      time.Time
	runID   string // of the Redis that acknowledged it; empty if it is not known
	lane    *lane.Lane
	payload []byte
	points  int
}

// checkpoint is a time at which Redis said that no sync was under way: what it
// had acknowledged by then is in its file, and will be synced within a second.
type checkpoint struct {
	at     time.Time
	offset int64 // of the replication stream
}

// requeueFunc writes an entry to its lane's queue through one connection. It
// returns nil when Redis has acknowledged the write.
type requeueFunc func(ctx context.Context, conn slotConnection, e *entry) error

const (
	// replayInterval is how often Redis is asked what is safe.
	replayInterval = time.Second

	// syncTime is how long after a checkpoint the sync that covers it has begun:
	// Redis begins one each second. When none is under way then, it has ended.
	syncTime = 2 * time.Second

	// saveAge is the age at which an entry that Redis has not made safe is
	// written to PostgreSQL. A Redis that is well makes it safe in four seconds.
	saveAge = 6 * time.Second

	// replayBytes bounds the copies: six seconds of full load, which is 225,000
	// points a second of 45 bytes each. When there are more, new points bypass
	// Redis.
	replayBytes = 64 << 20

	// saveBytes bounds what is decoded for PostgreSQL at a time, and saveTimeout
	// its write.
	saveBytes   = 1 << 20
	saveTimeout = 5 * time.Second

	// requeueChunk is how many entries are queued again before Redis is asked
	// once more whether it is still the same.
	requeueChunk = 256

	maxCheckpoints = 120

	// flushInterval is the pause between two attempts of flush.
	flushInterval = 250 * time.Millisecond
)

// add keeps a payload that Redis has acknowledged, if Redis may forget it. The
// payload must not change any more.
func (r *replayBuffer) add(l *lane.Lane, payload []byte, points int) {
	if r.safe.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, &entry{time.Now(), r.runID, l, payload, points})
	r.space.resize(len(payload))
}

// replaySpace is what the copies of a process take. Any number of goroutines may use
// one at the same time.
type replaySpace struct {
	mu         sync.Mutex
	bytes      int
	reportFull func(bool) // told true when there is no room for more copies, and false when there is
}

// resize counts bytes that are added or dropped.
func (s *replaySpace) resize(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += bytes
	s.reportFull(s.bytes > replayBytes)
}

// run looks after the entries until ctx ends.
func (r *replayBuffer) run(ctx context.Context) {
	every(ctx, replayInterval, func() { r.check(ctx) })
}

// check drops the entries that are safe, queues those again that a Redis had
// acknowledged which is another one now, and writes those to PostgreSQL that are
// not safe after saveAge. Question, writes and a second question go through one
// connection, one of the pool that points take: a server that is no longer the
// master cannot count as having them.
func (r *replayBuffer) check(ctx context.Context) {
	r.checking.Lock()
	defer r.checking.Unlock()
	r.checkServer(ctx)
	if r.oldest().Before(time.Now().Add(-saveAge)) {
		r.save(ctx)
	}
}

// checkServer asks the server and drops or queues again what it says. One that does
// not respond says nothing.
func (r *replayBuffer) checkServer(ctx context.Context) {
	conn, err := connect(ctx, r.client, r.lane)
	if err != nil {
		return
	}
	defer conn.Close()
	asked := time.Now()
	state, err := askDurability(ctx, conn)
	if err == nil {
		err = conn.confirm(ctx, r.lane)
	}
	if err != nil {
		conn.failed(ctx, err)
		return
	}
	r.observe(asked, state)
	if err := r.requeue(ctx, conn, state.runID); err != nil {
		conn.failed(ctx, err)
		if ctx.Err() == nil {
			r.logger.Warn("Redis did not accept again what it had acknowledged; trying once more", "error", err)
		}
	}
}

// probe returns nil if the server accepts writes and its replicas receive them.
func (r *replayBuffer) probe(ctx context.Context) error {
	conn, err := connect(ctx, r.client, r.lane)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err = probe(ctx, conn, r.lane); err == nil {
		err = r.replicas.await(ctx, conn)
	}
	conn.failed(ctx, err)
	return err
}

// observe is told what Redis answered when it was asked at asked, and drops what
// is safe with it.
func (r *replayBuffer) observe(asked time.Time, state durability) {
	r.safe.Store(state.safe)
	r.replicas.required.Store(int64(state.replicas))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runID != state.runID {
		for _, e := range r.entries {
			if e.runID == "" {
				e.runID = state.runID // from before the first answer
			}
		}
		r.runID, r.checkpoints = state.runID, nil
	}
	if state.failed {
		r.checkpoints = nil
	}
	if !state.written {
		return
	}
	for i, c := range slices.Backward(r.checkpoints) {
		if asked.Sub(c.at) >= syncTime && c.offset <= state.replicated {
			r.dropBefore(c.at)
			r.checkpoints = r.checkpoints[i+1:]
			break
		}
	}
	if len(r.checkpoints) == maxCheckpoints {
		r.checkpoints = r.checkpoints[1:]
	}
	r.checkpoints = append(r.checkpoints, checkpoint{asked, state.offset})
}

// dropBefore drops the entries that this Redis acknowledged before a time. The
// lock must be held.
func (r *replayBuffer) dropBefore(at time.Time) {
	n := 0
	for n < len(r.entries) && r.entries[n].runID == r.runID && r.entries[n].at.Before(at) {
		r.space.resize(-len(r.entries[n].payload))
		r.entries[n] = nil
		n++
	}
	r.entries = r.entries[n:]
}

// oldest is the time of the first entry; now when there is none.
func (r *replayBuffer) oldest() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		return time.Now()
	}
	return r.entries[0].at
}

// held returns the entries for which keep is true.
func (r *replayBuffer) held(keep func(*entry) bool) (held []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if keep(e) {
			held = append(held, e)
		}
	}
	return held
}

// requeue queues those entries again that another Redis than runID acknowledged.
func (r *replayBuffer) requeue(ctx context.Context, conn slotConnection, runID string) error {
	lost := r.held(func(e *entry) bool { return e.runID != runID })
	if len(lost) == 0 {
		return nil
	}
	r.logger.Info("Redis is another one than before; what it acknowledged last is queued again", "tasks", len(lost))
	for chunk := range slices.Chunk(lost, requeueChunk) {
		for _, e := range chunk {
			if err := r.publish(ctx, conn, e); err != nil {
				return err
			}
		}
		if after, err := askDurability(ctx, conn); err != nil {
			return err
		} else if after.runID != runID {
			return errOtherServer
		}
		r.mu.Lock()
		for _, e := range chunk {
			e.at, e.runID = time.Now(), runID
		}
		r.mu.Unlock()
	}
	return nil
}

// save writes all entries to PostgreSQL and drops those that it has committed.
func (r *replayBuffer) save(ctx context.Context) {
	held := r.held(func(*entry) bool { return true })
	slices.SortStableFunc(held, func(a, b *entry) int { return a.lane.Priority - b.lane.Priority })
	saved := 0
	for saved < len(held) {
		end, bytes := saved, 0
		for end < len(held) && held[end].lane == held[saved].lane && bytes < saveBytes {
			bytes += len(held[end].payload)
			end++
		}
		if err := r.saveTogether(ctx, held[saved:end]); err != nil {
			if !r.unsaved {
				r.unsaved = true
				r.logger.Error("points that Redis may forget are not in the database yet; trying again", "error", err)
			}
			return
		}
		r.drop(held[saved:end])
		saved = end
	}
	if saved > 0 {
		r.unsaved = false
		r.logger.Info("points that Redis may forget were written to the database", "tasks", saved)
	}
}

// saveTogether writes entries of one lane.
func (r *replayBuffer) saveTogether(ctx context.Context, entries []*entry) error {
	var payload []byte
	for _, e := range entries {
		payload = append(payload, e.payload...)
	}
	points, err := Decode(entries[0].lane, payload)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	_, err = r.writer.Write(ctx, points, "")
	return err
}

// drop drops entries, wherever they stand.
func (r *replayBuffer) drop(entries []*entry) {
	gone := make(map[*entry]bool, len(entries))
	for _, e := range entries {
		gone[e] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = slices.DeleteFunc(r.entries, func(e *entry) bool { return gone[e] })
	for _, e := range entries {
		r.space.resize(-len(e.payload))
	}
}

// flush returns when no entry is held any more: each is safe with Redis or in
// PostgreSQL. When ctx ends first it logs how many points are lost if Redis
// forgets them. Nothing may be added meanwhile.
func (r *replayBuffer) flush(ctx context.Context) {
	for {
		if r.isEmpty() {
			return
		}
		r.check(ctx)
		r.checking.Lock()
		r.save(ctx)
		r.checking.Unlock()
		if r.isEmpty() {
			return
		}
		select {
		case <-ctx.Done():
			points := 0
			for _, e := range r.held(func(*entry) bool { return true }) {
				points += e.points
			}
			r.logger.Error("points that Redis acknowledged and may forget could not be written to the database", "points", points)
			return
		case <-time.After(flushInterval):
		}
	}
}

func (r *replayBuffer) isEmpty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries) == 0
}
