// Package retry makes requests to a server again that may work later.
package retry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"tracklane/internal/clock"
)

// LongestDelay is how long Policy.Do waits at the most, unless an attempt says more.
const LongestDelay = 30 * time.Second

// Policy says how often to try, and how long to wait in between.
type Policy struct {
	Attempts int

	// Delay is how long the first retry waits; each waits twice as long, up to
	// LongestDelay. 0 is a second.
	Delay time.Duration
}

// Do calls attempt until it returns no error, one that mayPass does not report, or until
// there are no attempts left or ctx has ended, and returns its last error. wait is how
// long to wait before the next attempt, if that is longer than the policy's delay.
func (p Policy) Do(ctx context.Context, mayPass func(error) bool, attempt func() (wait time.Duration, err error)) error {
	delay := p.Delay
	if delay == 0 {
		delay = time.Second
	}
	for left := p.Attempts - 1; ; left-- {
		wait, err := attempt()
		if err == nil || left == 0 || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		clock.Sleep(ctx, max(wait, delay)) // if ctx ends, the next attempt says so
		delay = min(2*delay, LongestDelay)
	}
}

// After is how long a response says to wait, in Retry-After: none, or a date, is no
// wait.
func After(response *http.Response) time.Duration {
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second
}
