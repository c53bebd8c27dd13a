package tasks

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// batcher writes the small requests of one lane together: group commit. While
// one write is under way the requests that arrive gather in the next batch, and
// when that is full, in the one behind it; each returns when the write of its own
// batch does. There is no timer: a request that arrives alone is written at once,
// and the more arrive, the more share a round trip.
type batcher[R any] struct {
	maxPoints int
	maxWrites int
	write     writeFunc[R]

	mu       sync.Mutex
	waiting  []*pendingBatch[R] // for their writes; all but the last are full
	flushing int                // how many flushLoops run
}

// writeFunc writes requests that hold so many points together; the first of their
// batch has waited since a time. It has to come to an end.
type writeFunc[R any] func(since time.Time, requests []R, points int) error

// pendingBatch is the requests that go with one write.
type pendingBatch[R any] struct {
	requests []R
	points   int
	since    time.Time // when the first request came

	done chan struct{} // closed when err is known
	err  error
}

// newBatcher returns a batcher that hands requests to write, one batch at a
// time, and as long as full ones wait, up to maxWrites at the same time. Each holds at
// most limits.MaxPoints points, and at least limits.MinPoints if more requests wait
// behind it.
func newBatcher[R any](limits Batching, maxWrites int, write writeFunc[R]) *batcher[R] {
	return &batcher[R]{maxPoints: limits.MaxPoints, maxWrites: maxWrites, write: write}
}

// submit returns what write returned for the batch that the request went with. It
// waits for the writes of the batches before it, and for its own; but when one of them
// has run out of time, the full ones behind it are not written, and get its error. No
// request's context applies: each of them waits for the write, even one whose client
// has gone. A request must hold fewer points than limits.MinPoints.
func (b *batcher[R]) submit(request R, points int) error {
	p := b.add(request, points)
	<-p.done
	return p.err
}

// add adds a request to the batch that gathers, and sees that it is written.
func (b *batcher[R]) add(request R, points int) *pendingBatch[R] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.waiting); n == 0 || b.waiting[n-1].points+points > b.maxPoints {
		b.waiting = append(b.waiting, &pendingBatch[R]{since: time.Now(), done: make(chan struct{})})
	}
	p := b.waiting[len(b.waiting)-1]
	p.requests = append(p.requests, request)
	p.points += points
	full := len(b.waiting) - 1
	if b.flushing == 0 || b.flushing < b.maxWrites && full > 0 {
		b.flushing++
		go b.flushLoop()
	}
	return p
}

// flushLoop writes one batch after another until nobody waits.
func (b *batcher[R]) flushLoop() {
	for {
		// The requests that the last write has done, and those that arrived
		// with this one, are ready to run: let them submit first. With many
		// clients this gave 8 % more points a second and 20 % less work for
		// Redis, as more requests share a write.
		runtime.Gosched()
		p := b.next()
		if p == nil {
			return
		}
		p.err = b.write(p.since, p.requests, p.points)
		close(p.done)
		if errors.Is(p.err, context.DeadlineExceeded) {
			b.failFull(p.err)
		}
	}
}

// next takes the batch that has waited longest; nil, and flushLoop ends, when
// nobody waits, or when the others that flush are enough for a batch that is not full.
func (b *batcher[R]) next() *pendingBatch[R] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 || len(b.waiting) == 1 && b.flushing > 1 {
		b.flushing--
		return nil
	}
	p := b.waiting[0]
	b.waiting[0] = nil
	b.waiting = b.waiting[1:]
	return p
}

// failFull ends the wait of all full batches with the error of the write before
// them: a server that does not respond is waited for twice at the most, however many
// wait.
func (b *batcher[R]) failFull(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) > 1 {
		p := b.waiting[0]
		p.err = err
		close(p.done)
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
	}
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
