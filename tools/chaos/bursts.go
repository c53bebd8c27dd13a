package main

import (
	"context"
	"time"

	"tracklane/internal/clock"
)

// bursts tell clients that send only during a fault when to do so. Its methods
// may be called from several goroutines.
type bursts struct {
	clients map[kind][]chan time.Time
}

// newBursts returns the bursts of the streams that follow a fault.
func newBursts(streams []stream) *bursts {
	b := &bursts{clients: make(map[kind][]chan time.Time)}
	for _, s := range streams {
		if s.during != "" {
			b.clients[s.during] = append(b.clients[s.during], make(chan time.Time, 1))
		}
	}
	return b
}

// of returns the bursts of the number-th stream that follows a kind of fault.
func (b *bursts) of(k kind, number int) <-chan time.Time { return b.clients[k][number] }

// start lets the clients of a kind of fault send until a time. Those that still
// wait for an acknowledgement of the last one go on with that.
func (b *bursts) start(k kind, until time.Time) {
	for _, client := range b.clients[k] {
		select {
		case client <- until:
		default:
		}
	}
}

// runDuring sends requests at the stream's pace during bursts until sending ends.
func (c *client) runDuring(ctx, sending context.Context, bursts <-chan time.Time) {
	defer c.http.CloseIdleConnections()
	for {
		select {
		case until := <-bursts:
			if !c.burst(ctx, sending, until) {
				return
			}
		case <-sending.Done():
			return
		}
	}
}

// burst sends until a time, one request at the least. It returns false when ctx
// ended.
func (c *client) burst(ctx, sending context.Context, until time.Time) bool {
	for {
		due := time.Now().Add(c.stream.every)
		if !c.deliver(ctx, c.history.next(c.stream.id)) {
			return false
		}
		if !clock.Sleep(sending, time.Until(due)) || !time.Now().Before(until) {
			return true
		}
	}
}
