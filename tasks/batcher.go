package tasks

import (
	"context"
	"runtime"
	"sync"
	"time"

	"tracklane/internal/lane"
)

// batcher lets the small requests of one lane into Redis together. While one
// write is under way the requests that arrive wait for each other, and the
// next write takes them all; each is answered when its own write is
// acknowledged. There is no timer: a request that comes alone is written at
// once, and the more come, the more go with one round trip.
type batcher struct {
	enqueuer *Enqueuer
	lane     *lane.Lane
	groups   *groups

	mu       sync.Mutex
	pending  *pendingBatch // gathers for the next write; nil when nobody waits
	flushing bool
}

// pendingBatch is the requests that go in with one write.
type pendingBatch struct {
	requests []request
	points   int
	deadline time.Time // of the request that waits longest

	done chan struct{} // closed when err is known
	err  error
}

type request struct {
	payload []byte
	points  int
}

func newBatcher(e *Enqueuer, l *lane.Lane) *batcher {
	return &batcher{
		enqueuer: e, lane: l,
		groups: newGroups(e.batching.MinPoints, e.batching.MaxDelay),
	}
}

// pass returns when Redis has acknowledged the payload, or did not within the
// enqueuer's timeout.
func (b *batcher) submit(payload []byte, points int) error {
	b.mu.Lock()
	p := b.pending
	if p == nil {
		p = &pendingBatch{deadline: time.Now().Add(b.enqueuer.timeout), done: make(chan struct{})}
		b.pending = p
	}
	p.requests = append(p.requests, request{payload, points})
	p.points += points
	if !b.flushing {
		b.flushing = true
		go b.flushLoop()
	}
	b.mu.Unlock()

	<-p.done
	return p.err
}

// flushLoop writes one batch after another until nobody waits.
func (b *batcher) flushLoop() {
	for {
		runtime.Gosched()
		b.mu.Lock()
		p := b.pending
		b.pending = nil
		if p == nil {
			b.flushing = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()

		p.err = b.enqueuer.write(func() error { return b.flush(p) })
		close(p.done)
	}
}

// flush enqueues a batch of requests as batches, and what does not fill one as a task that
// waits in a group.
func (b *batcher) flush(p *pendingBatch) error {
	ctx, cancel := context.WithDeadline(context.Background(), p.deadline)
	defer cancel()
	for _, part := range p.split(b.enqueuer.batching) {
		size, points := 0, 0
		for _, r := range part {
			size += len(r.payload)
			points += r.points
		}
		payload := make([]byte, 0, size)
		for _, r := range part {
			payload = append(payload, r.payload...)
		}
		if err := b.enqueuer.enqueuePayload(ctx, b.lane, payload, points); err != nil {
			return err
		}
	}
	return nil
}

// cut divides the requests into as few parts as make batches of about the same
// size. At the most one of them is too small for a batch. Each request is
// smaller than one.
func (p *pendingBatch) split(limits Batching) (parts [][]request) {
	from, gathered, left := 0, 0, p.points
	enough := splitEvenly(left, limits.MaxPoints)[0]
	for i, r := range p.requests {
		if gathered >= limits.MinPoints && (gathered >= enough || gathered+r.points > limits.MaxPoints) {
			parts = append(parts, p.requests[from:i])
			left -= gathered
			from, gathered, enough = i, 0, splitEvenly(left, limits.MaxPoints)[0]
		}
		gathered += r.points
	}
	return append(parts, p.requests[from:])
}
