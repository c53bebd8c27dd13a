package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"tracklane/internal/lane"
)

// ErrUnavailable is returned for points that were not sent to Redis because it
// failed a moment ago or holds as many as it may.
var ErrUnavailable = errors.New("Redis is not available")

// errHurried says that Redis cannot be blamed for a write that was too slow.
var errHurried = errors.New("too little time was left")

const (
	// probeInterval is how often a Redis that failed is tried again.
	probeInterval = 500 * time.Millisecond

	probeLifetime = 10 * time.Second
)

// breaker keeps requests away from a Redis that failed. One failure opens it;
// only a probe, never a request, finds out that Redis is back. Any number of
// goroutines may use one at the same time.
type breaker struct {
	circuit *gobreaker.CircuitBreaker[struct{}]
	probe   func(context.Context) error // returns nil if Redis accepts points
	timeout time.Duration
	logger  *slog.Logger
}

// newBreaker returns a breaker that is closed. It tells reportFailed of each
// change: whether Redis has failed.
func newBreaker(probe func(context.Context) error, timeout time.Duration, reportFailed func(bool), logger *slog.Logger) *breaker {
	return &breaker{
		probe: probe, timeout: timeout, logger: logger,
		circuit: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
			Name:        "redis",
			Timeout:     probeInterval,
			IsExcluded:  func(err error) bool { return errors.Is(err, errHurried) },
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures > 0 },
			OnStateChange: func(_ string, _, to gobreaker.State) {
				reportFailed(to != gobreaker.StateClosed)
				switch to {
				case gobreaker.StateOpen:
					logger.Debug("Redis is left alone until the next probe")
				case gobreaker.StateClosed:
					logger.Info("Redis accepts points again")
				}
			},
		}),
	}
}

// closed reports whether Redis is in use.
func (b *breaker) closed() bool { return b.circuit.State() == gobreaker.StateClosed }

// do calls write, or returns ErrUnavailable if Redis has failed since the points
// were admitted. An error of write opens the breaker, and is logged. But a write
// that used up a time of less than half the breaker's timeout says nothing about
// Redis: its requests had waited for the write before.
func (b *breaker) do(ctx context.Context, write func(context.Context) error) error {
	if !b.closed() {
		return ErrUnavailable
	}
	deadline, limited := ctx.Deadline()
	hurried := limited && time.Until(deadline) < b.timeout/2
	_, err := b.circuit.Execute(func() (struct{}, error) {
		err := write(ctx)
		if err != nil && hurried && !time.Now().Before(deadline) {
			err = fmt.Errorf("%w: %w", errHurried, err)
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return ErrUnavailable
	}
	if err != nil {
		b.logger.Error("Redis did not accept points; they go straight to the database", "error", err)
	}
	return err
}

// run probes Redis while the breaker is not closed, until ctx ends.
func (b *breaker) run(ctx context.Context) {
	every(ctx, probeInterval, func() {
		if b.closed() {
			return
		}
		// An error is expected for as long as Redis is down; the request that
		// met it first has logged it.
		_, _ = b.circuit.Execute(func() (struct{}, error) {
			ctx, cancel := context.WithTimeout(ctx, b.timeout)
			defer cancel()
			return struct{}{}, b.probe(ctx)
		})
	})
}

// probe returns nil if the server that has a lane's queue accepts writes: one that is
// out of memory or a replica answers a PING all the same.
func probe(ctx context.Context, client redis.Cmdable, l *lane.Lane) error {
	if err := client.Set(ctx, probeKey(l), 1, probeLifetime).Err(); err != nil {
		return fmt.Errorf("probe Redis: %w", err)
	}
	return nil
}
