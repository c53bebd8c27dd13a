package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tracklane/internal/lane"
	"tracklane/store"
)

// bypassTimeout is how long one write of requests that bypass Redis may take, and
// bypassWait how long they may have waited before it.
const (
	bypassTimeout = 5 * time.Second
	bypassWait    = 20 * time.Second
)

// bypassWrites is how many writes of small requests to a lane are under way at the
// same time. With two, PostgreSQL works on one while the other is prepared or synced:
// 40 % more points a second than with one, from 64 clients with 100 points each.
const bypassWrites = 2

// Bypass writes points into PostgreSQL without Redis, by group commit as an
// Enqueuer does. Any number of goroutines may use one at the same time.
type Bypass struct {
	writer    *store.Writer
	minPoints int
	batchers  map[string]*batcher[*bypassRequest] // by the lane's name
}

// bypassRequest is one request's points, and what became of them.
type bypassRequest struct {
	points *lane.Points
	result store.Result
	err    error
}

// NewBypass returns a bypass of the lanes that writes with writer. Requests of
// fewer than batching.MinPoints points share a write of at most
// batching.MaxPoints.
func NewBypass(lanes []*lane.Lane, writer *store.Writer, batching Batching) *Bypass {
	b := &Bypass{writer: writer, minPoints: batching.MinPoints, batchers: make(map[string]*batcher[*bypassRequest])}
	for _, l := range lanes {
		b.batchers[l.Name] = newBatcher(batching, bypassWrites, b.writeTogether)
	}
	return b
}

// Write writes the points of one request. Its result and its errors are those of
// store.Writer.Write for these points alone, whatever they were written with. It
// waits for the writes of requests before it, bypassWait at the most, and for its own,
// but for no more than two that fail, of bypassTimeout each; the end of ctx does not
// end the write. It may change the order of the points.
func (b *Bypass) Write(ctx context.Context, points *lane.Points) (store.Result, error) {
	if points.Len() >= b.minPoints {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bypassTimeout)
		defer cancel()
		return b.writer.Write(ctx, points, "")
	}
	r := &bypassRequest{points: points}
	if err := b.batchers[points.Lane.Name].submit(r, points.Len()); err != nil {
		return store.Result{}, err
	}
	return r.result, r.err
}

// writeTogether writes requests as one list, and gives each its result. An error of
// refused points that cannot be kept is part of that: the points are written.
func (b *Bypass) writeTogether(since time.Time, requests []*bypassRequest, _ int) error {
	if waited := time.Since(since); waited > bypassWait {
		return fmt.Errorf("write points after %v: %w", waited.Round(time.Second), context.DeadlineExceeded)
	}
	lists := make([]*lane.Points, len(requests))
	for i, r := range requests {
		lists[i] = r.points
	}
	// The batch has waited for the write before, which takes no time from its own.
	ctx, cancel := context.WithTimeout(context.Background(), bypassTimeout)
	defer cancel()
	results, err := b.writer.WriteMerged(ctx, lists)
	if err != nil && !errors.Is(err, store.ErrNotKept) {
		return err
	}
	for i, r := range requests {
		r.result, r.err = results[i], err
	}
	return nil
}
