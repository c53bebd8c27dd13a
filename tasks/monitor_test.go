package tasks

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
)

func TestMonitor_TellsItsObserversInOrder(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	m := &Monitor{
		ask:     func(context.Context) Redis { return Redis{Connected: true, UsedMemory: 3, MaxMemory: 4} },
		waiting: newWaitingCounter(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), nil, nil),
	}
	var told []string
	for _, name := range []string{"first", "second"} {
		m.observe(func(_ context.Context, r reading) {
			assert.True(t, r.Connected)
			assert.InDelta(t, 0.75, r.memoryUsage(), 0)
			told = append(told, name)
		})
	}
	m.observe(func(context.Context, reading) { stop(errors.New("told")) })
	m.Run(ctx) // returns, since ctx ends
	assert.Equal(t, []string{"first", "second"}, told)
}

func TestReading_MemoryUsageIsZeroWithoutALimit(t *testing.T) {
	t.Parallel()
	assert.Zero(t, reading{Redis: Redis{Connected: true, UsedMemory: 3}}.memoryUsage())
}
