package tasks

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowHook makes each command take a while longer.
type slowHook struct{ delay time.Duration }

func (slowHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (slowHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h slowHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		timer := time.NewTimer(h.delay)
		defer timer.Stop()
		<-timer.C
		return next(ctx, command)
	}
}

func TestEnqueuer_GivesEachRoundTripOfALargeRequestItsTimeout(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	connections.Enqueue.AddHook(slowHook{20 * time.Millisecond})
	const timeout = 500 * time.Millisecond
	e, l := newTestEnqueuer(t, connections, timeout)
	start := time.Now()
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 50_000)))
	assert.Greater(t, time.Since(start), timeout, "the test shows nothing")
	assert.True(t, e.Available())
}

func TestEnqueuer_WaitsLongerForTheBatchesOfALargeRequest(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	const timeout = 100 * time.Millisecond
	connections.Enqueue.AddHook(slowHook{timeout + timeout/2})
	e, l := newTestEnqueuer(t, connections, timeout)
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 4_000)))
	assert.True(t, e.Available(), "that its writes are slow says nothing about small ones")
	require.Error(t, e.Enqueue(t.Context(), examplePoints(l, 1)))
	assert.False(t, e.Available())
}

func TestBreaker_StaysClosedWhenAWriteHadLittleTime(t *testing.T) {
	t.Parallel()
	const timeout = time.Minute
	b := newBreaker(func(context.Context) error { return nil }, timeout, func(bool) {}, slog.New(slog.DiscardHandler))
	wait := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // the rest of its batch's time
	defer cancel()
	require.ErrorIs(t, b.do(ctx, wait), context.DeadlineExceeded)
	assert.True(t, b.closed())

	ctx, cancel = context.WithTimeout(t.Context(), timeout/4)
	defer cancel()
	failure := errors.New("connection refused")
	require.ErrorIs(t, b.do(ctx, func(context.Context) error { return failure }), failure)
	assert.False(t, b.closed(), "Redis failed, whatever time there was")
}
