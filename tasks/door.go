package tasks

import (
	"context"
	"runtime"
	"sync"
	"time"

	"tracklane/lane"
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

// write enqueues whole batches as long as the crowd fills them, and the rest
// as one task that waits in a group.
func (d *door) write(c *crowd) error {
	ctx, cancel := context.WithDeadline(context.Background(), c.deadline)
	defer cancel()
	var payload []byte
	gathered, left := 0, c.points
	for _, r := range c.requests {
		payload = append(payload, r.payload...)
		gathered += r.points
		left -= r.points
		// What would be left over alone goes with the last batch if it fits.
		full := gathered >= d.enqueuer.batching.MinPoints &&
			(left == 0 || gathered+left > d.enqueuer.batching.MaxPoints)
		if !full {
			continue
		}
		if err := d.enqueuer.enqueueBatch(ctx, d.lane, payload); err != nil {
			return err
		}
		payload, gathered = nil, 0
	}
	if gathered == 0 {
		return nil
	}
	return d.enqueuer.enqueueSmall(ctx, d.lane, d.groups.next(gathered, time.Now()), payload)
}
