package tasks

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBatcher_GivesEachRequestTheErrorOfItsOwnWrite(t *testing.T) {
	t.Parallel()
	failure := errors.New("Redis is down")
	writing, release := make(chan int), make(chan error)
	b := newBatcher(testBatching, func(_ time.Time, _ [][]byte, points int) error {
		writing <- points
		return <-release
	})
	submit := func(points int) <-chan error {
		result := make(chan error, 1)
		go func() { result <- b.submit([]byte("x"), points) }()
		return result
	}
	alone := submit(1)
	require.Equal(t, 1, <-writing, "a request that comes alone is written at once")
	second, third := submit(2), submit(3)
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.pending != nil && b.pending.points == 5
	}, 10*time.Second, time.Millisecond, "requests gather while a write is under way")
	release <- failure
	require.ErrorIs(t, <-alone, failure)
	require.Equal(t, 5, <-writing)
	release <- nil
	require.NoError(t, <-second)
	require.NoError(t, <-third)
}

func TestBatcher_WritesWithinTheTimeOfTheRequestThatWaitsLongest(t *testing.T) {
	t.Parallel()
	const timeout = 50 * time.Millisecond
	b := newBatcher(testBatching, func(since time.Time, _ [][]byte, _ int) error {
		ctx, cancel := context.WithDeadline(t.Context(), since.Add(timeout))
		defer cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	start := time.Now()
	require.ErrorIs(t, b.submit([]byte("x"), 1), context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 10*time.Second, "its time began when it came")
	assert.GreaterOrEqual(t, time.Since(start), timeout)
}
