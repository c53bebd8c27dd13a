package tasks

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// batcher writes the small requests of one lane together: group commit. While
// one write is under way the requests that arrive gather in the next batch;
// each returns when the write of its own batch does. There is no timer: a
// request that arrives alone is written at once, and the more arrive, the more
// share a round trip.
type batcher struct {
	limits  Batching
	timeout time.Duration
	publish func(ctx context.Context, payload []byte, points int) error

	mu       sync.Mutex
	pending  *pendingBatch // gathers for the next write; nil when nobody waits
	flushing bool          // flushLoop runs
}

// pendingBatch is the requests that go with one write.
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

// newBatcher returns a batcher that hands payloads of joined requests to
// publish, one at a time. Each holds at most limits.MaxPoints points.
func newBatcher(limits Batching, timeout time.Duration, publish func(ctx context.Context, payload []byte, points int) error) *batcher {
	return &batcher{limits: limits, timeout: timeout, publish: publish}
}

// submit returns what publish returned for the batch that the payload went
// with, after at most the batcher's timeout if publish heeds its context. A
// request must hold fewer points than limits.MinPoints.
func (b *batcher) submit(payload []byte, points int) error {
	b.mu.Lock()
	p := b.pending
	if p == nil {
		p = &pendingBatch{deadline: time.Now().Add(b.timeout), done: make(chan struct{})}
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

// flushLoop flushes one batch after another until nobody waits.
func (b *batcher) flushLoop() {
	for {
		// The requests that the last flush answered, and those that arrived
		// with this one, are ready to run: let them submit first. With many
		// clients this gave 8 % more points a second and 20 % less work for
		// Redis, as more requests share a write.
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

		p.err = b.flush(p)
		close(p.done)
	}
}

// flush publishes a batch, in parts if it holds more points than the limits
// allow. The first error ends it. No request's context applies: each of them
// waits for the write, even one whose client has gone.
func (b *batcher) flush(p *pendingBatch) error {
	ctx, cancel := context.WithDeadline(context.Background(), p.deadline)
	defer cancel()
	for _, part := range p.split(b.limits) {
		size, points := 0, 0
		for _, r := range part {
			size += len(r.payload)
			points += r.points
		}
		payload := make([]byte, 0, size)
		for _, r := range part {
			payload = append(payload, r.payload...)
		}
		if err := b.publish(ctx, payload, points); err != nil {
			return err
		}
	}
	return nil
}

// split divides the requests into as few parts as make batch tasks of about
// the same size. At most one part is too small for a batch task.
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

// splitEvenly divides points into as few parts of at most limit as possible,
// as even as possible: 1,001 points with a limit of 1,000 are 501 and 500.
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
