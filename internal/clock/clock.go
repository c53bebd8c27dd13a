// Package clock waits, and repeats.
package clock

import (
	"context"
	"sync"
	"time"
)

// Sleep waits for a duration, not at all when it is not positive, and reports
// whether it waited to the end: false means that ctx was done before.
func Sleep(ctx context.Context, duration time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if duration <= 0 {
		return true
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Every calls do at an interval, in a goroutine of its own, until the returned
// function is called, which waits for a call that is under way.
func Every(interval time.Duration, do func()) (stop func()) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-ticker.C:
				do()
			}
		}
	})
	return func() {
		close(stopped)
		running.Wait()
	}
}
