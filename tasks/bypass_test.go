package tasks

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/store"
)

// holdTable keeps writers of the live lane waiting until release is called.
func holdTable(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	held, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = held.Rollback(context.Background()) })
	_, err = held.Exec(t.Context(), `LOCK TABLE live_track_points IN EXCLUSIVE MODE`)
	require.NoError(t, err)
	return func() { require.NoError(t, held.Rollback(context.Background())) }
}

// waits reports whether a write is under way and so many requests, of a point each,
// wait for the next.
func (b *Bypass) waits(l *lane.Lane, requests int) func() bool {
	return func() bool { return waitsFor(b.batchers[l.Name], requests, true) }
}

func TestBypass_SharesWritesAndGivesEachRequestItsOwnResult(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	_, err := pool.Exec(t.Context(), `ALTER TABLE live_track_points ADD CHECK (elevation < 9000)`)
	require.NoError(t, err)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	b := NewBypass(lanes, store.NewWriter(pool, lanes, testBatching.MaxPoints, nil), testBatching)

	release := holdTable(t, pool)
	const requests = 60
	results, errs := make([]store.Result, requests), make([]error, requests)
	var writing sync.WaitGroup
	ctx, hangUp := context.WithCancel(t.Context())
	submit := func(i int) {
		// Of three requests one is new, one brings the same point, and one is
		// refused.
		points := pointAt(l, int64(i/3))
		if i%3 == 2 {
			points = pointAt(l, int64(1000+i))
			points.SetFloat(0, 0, 9999)
		}
		writing.Go(func() { results[i], errs[i] = b.Write(ctx, points) })
	}
	submit(0)
	require.Eventually(t, b.waits(l, 0), 10*time.Second, time.Millisecond, "a request that comes alone is written at once")
	for i := range requests - 1 {
		submit(1 + i)
	}
	require.Eventually(t, b.waits(l, requests-1), 10*time.Second, time.Millisecond)
	hangUp() // of no matter to a write
	release()
	writing.Wait()

	inserted := make([]int, requests/3)
	for i, r := range results {
		require.NoError(t, errs[i])
		if i%3 == 2 {
			require.Len(t, r.Rejected, 1)
			assert.Equal(t, store.Result{Rejected: r.Rejected}, r)
			assert.Equal(t, 0, r.Rejected[0].Index)
			continue
		}
		require.Equal(t, 1, r.Inserted+r.Duplicates)
		require.Empty(t, r.Rejected)
		inserted[i/3] += r.Inserted
	}
	for _, n := range inserted {
		assert.Equal(t, 1, n, "one of two requests has brought the point")
	}
	assert.Equal(t, requests/3, countStored(t, pool))
}

func TestBypass_WritesWhatArrivesDuringAWriteInOneTransaction(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	b := NewBypass(lanes, store.NewWriter(pool, lanes, testBatching.MaxPoints, nil), testBatching)
	release := holdTable(t, pool)
	var writing sync.WaitGroup
	submit := func(i int64) {
		writing.Go(func() {
			result, err := b.Write(t.Context(), pointAt(l, i))
			assert.NoError(t, err)
			assert.Equal(t, store.Result{Inserted: 1}, result)
		})
	}
	submit(0)
	require.Eventually(t, b.waits(l, 0), 10*time.Second, time.Millisecond, "a request that comes alone is written at once")
	for i := range int64(100) {
		submit(1 + i)
	}
	require.Eventually(t, b.waits(l, 100), 10*time.Second, time.Millisecond)
	release()
	writing.Wait()
	assert.ElementsMatch(t, []int{1, 100}, transactions(t, pool, l.Table))
}

func TestBypass_WritesNothingThatHasWaitedTooLong(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	pool := openMigrated(t)
	b := NewBypass(lanes, store.NewWriter(pool, lanes, testBatching.MaxPoints, nil), testBatching)
	requests := []*bypassRequest{{points: pointAt(lanes[0], 1)}}
	require.ErrorIs(t, b.writeTogether(time.Now().Add(-bypassWait-time.Second), requests, 1), context.DeadlineExceeded)
	require.NoError(t, b.writeTogether(time.Now(), requests, 1))
	assert.Equal(t, 1, requests[0].result.Inserted, "it was not written before")
}
