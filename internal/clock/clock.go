// Package clock waits.
package clock

import (
	"context"
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
