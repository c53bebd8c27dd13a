package tasks

import (
	"context"
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
