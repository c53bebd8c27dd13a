package tasks

import (
	"context"
	"runtime"
	"sync"
	"time"

	"tracklane/internal/lane"
)

// door lets the small requests of one lane into Redis together. While one
// write is under way the requests that arrive wait for each other, and the
// next write takes them all; each is answered when its own write is
// acknowledged. There is no timer: a request that comes alone is written at
// once, and the more come, the more go with one round trip.
type door struct {
	enqueuer *Enqueuer
	lane     *lane.Lane
	groups   *groups

	mu      sync.Mutex
	waiting *crowd // gathers for the next write; nil when nobody waits
	writing bool
}

// crowd is the requests that go in with one write.
type crowd struct {
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

func newDoor(e *Enqueuer, l *lane.Lane) *door {
	return &door{
		enqueuer: e, lane: l,
		groups: newGroups(e.batching.MinPoints, e.batching.MaxDelay),
	}
}

// pass returns when Redis has acknowledged the payload, or did not within the
// enqueuer's timeout.
func (d *door) pass(payload []byte, points int) error {
	d.mu.Lock()
	c := d.waiting
	if c == nil {
		c = &crowd{deadline: time.Now().Add(d.enqueuer.timeout), done: make(chan struct{})}
		d.waiting = c
	}
	c.requests = append(c.requests, request{payload, points})
	c.points += points
	if !d.writing {
		d.writing = true
		go d.writeAll()
	}
	d.mu.Unlock()

	<-c.done
	return c.err
}

// writeAll writes one crowd after another until nobody waits.
func (d *door) writeAll() {
	for {
		runtime.Gosched()
		d.mu.Lock()
		c := d.waiting
		d.waiting = nil
		if c == nil {
			d.writing = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()

		c.err = d.enqueuer.write(func() error { return d.write(c) })
		close(c.done)
	}
}

// write enqueues a crowd as batches, and what does not fill one as a task that
// waits in a group.
func (d *door) write(c *crowd) error {
	ctx, cancel := context.WithDeadline(context.Background(), c.deadline)
	defer cancel()
	for _, part := range c.cut(d.enqueuer.batching) {
		size, points := 0, 0
		for _, r := range part {
			size += len(r.payload)
			points += r.points
		}
		payload := make([]byte, 0, size)
		for _, r := range part {
			payload = append(payload, r.payload...)
		}
		if err := d.enqueuer.enqueuePayload(ctx, d.lane, payload, points); err != nil {
			return err
		}
	}
	return nil
}

// cut divides the requests into as few parts as make batches of about the same
// size. At the most one of them is too small for a batch. Each request is
// smaller than one.
func (c *crowd) cut(limits Batching) (parts [][]request) {
	from, gathered, left := 0, 0, c.points
	enough := cut(left, limits.MaxPoints)[0]
	for i, r := range c.requests {
		if gathered >= limits.MinPoints && (gathered >= enough || gathered+r.points > limits.MaxPoints) {
			parts = append(parts, c.requests[from:i])
			left -= gathered
			from, gathered, enough = i, 0, cut(left, limits.MaxPoints)[0]
		}
		gathered += r.points
	}
	return append(parts, c.requests[from:])
}
