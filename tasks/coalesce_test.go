package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/internal/storetest"
	"tracklane/store"
)

// openMigrated returns connections to a database of the test's own that has
// the lanes' tables.
func openMigrated(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return storetest.OpenMigrated(t, servers.Database(t))
}

// startWorker runs a worker until the test ends.
func startWorker(t *testing.T, connections *Connections, pool *pgxpool.Pool) {
	t.Helper()
	lanes := lane.All(lane.Options{})
	weights := map[string]int{}
	for _, l := range lanes {
		weights[l.Name] = l.Weight
	}
	monitor := NewMonitor(connections, lanes, slog.New(slog.DiscardHandler))
	worker := NewWorker(connections, lanes, monitor,
		store.NewWriter(pool, lanes, testBatching.MaxPoints, nil),
		WorkerOptions{Concurrency: 4, Weights: weights, Batching: testBatching, ShutdownTimeout: 10 * time.Second},
		slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, worker.Run(ctx)) })
	running.Go(func() { monitor.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// pointAt is one point that no other number gives.
func pointAt(l *lane.Lane, number int64) *lane.Points {
	points := examplePoints(l, 1)
	points.Rows[0].Time += number
	return points
}

// transactions lists how many rows each transaction added to a table: batches.
func transactions(t *testing.T, pool *pgxpool.Pool, table string) []int {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT count(*) FROM `+table+` GROUP BY xmin::text`)
	require.NoError(t, err)
	sizes, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	return sizes
}

func TestWorker_CoalescesPointsAtAnyRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate, seconds int // requests of one point each
		mostBatches   int // of a few hundred points, where there are so many
	}{
		{rate: 2, seconds: 3, mostBatches: 5}, // at one a second, the group's grace period may end before each
		{rate: 100, seconds: 4, mostBatches: 5},
		{rate: 10_000, seconds: 3, mostBatches: 90},
	} {
		t.Run(fmt.Sprint(c.rate, " requests a second"), func(t *testing.T) {
			t.Parallel()
			_, connections := startRedis(t)
			pool := openMigrated(t)
			startWorker(t, connections, pool)
			e, l := newTestEnqueuer(t, connections, 5*time.Second)

			total := c.rate * c.seconds
			start := time.Now()
			var next atomic.Int64
			var senders sync.WaitGroup
			for range min(c.rate, 64) {
				senders.Go(func() {
					for {
						i := next.Add(1) - 1
						if i >= int64(total) {
							return
						}
						<-time.After(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(c.rate))))
						if !assert.NoError(t, e.Enqueue(context.Background(), pointAt(l, i))) {
							return
						}
					}
				})
			}
			senders.Wait()
			sent := time.Now()
			require.Eventually(t, func() bool {
				var rows int
				err := pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows)
				return err == nil && rows == total
			}, 20*time.Second, 20*time.Millisecond)
			drained := time.Since(sent)
			sizes := transactions(t, pool, l.Table)
			t.Logf("sent within %v, stored %v later in %d batches", sent.Sub(start).Round(time.Millisecond),
				drained.Round(time.Millisecond), len(sizes))
			assert.LessOrEqual(t, len(sizes), c.mostBatches)
			for _, size := range sizes {
				assert.LessOrEqual(t, size, testBatching.MaxPoints)
			}
			// GROUP_MAX_DELAY, asynq's tick of a second, and the write.
			assert.Less(t, drained, 5*time.Second)
		})
	}
}

func TestEnqueuer_ReturnsOnlyOnceRedisHasThePoints(t *testing.T) {
	t.Parallel()
	server, connections := startRedis(t)
	if server.InMemory() {
		return // it cannot be paused
	}
	const timeout = 300 * time.Millisecond
	e, l := newTestEnqueuer(t, connections, timeout)
	require.NoError(t, e.Enqueue(t.Context(), pointAt(l, 0)))
	require.NoError(t, server.Pause())
	start := time.Now()
	var waiting sync.WaitGroup
	for i := range int64(200) {
		waiting.Go(func() {
			points := pointAt(l, 1+i)
			if i%50 == 0 {
				points = examplePoints(l, 600)
			}
			assert.Error(t, e.Enqueue(context.Background(), points))
		})
	}
	waiting.Wait()
	assert.Less(t, time.Since(start), timeout+500*time.Millisecond)
	assert.False(t, e.Available())
	start = time.Now()
	require.ErrorIs(t, e.Enqueue(t.Context(), pointAt(l, 999)), ErrUnavailable)
	assert.Less(t, time.Since(start), timeout, "nobody waits after the first have")
	require.NoError(t, server.Resume())
}

func TestWorker_KeepsWhatItCannotReadAndWritesTheRest(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	e, l := newTestEnqueuer(t, connections, 5*time.Second)
	require.NoError(t, e.Enqueue(t.Context(), pointAt(l, 7)))
	require.NoError(t, e.publisher.publish(t.Context(), l, []byte("garbage"), 1))
	require.NoError(t, e.publisher.publish(t.Context(), l, Encode(nil, pointAt(l, 8)), 1))
	require.NoError(t, e.publisher.publish(t.Context(), l, Encode(nil, pointAt(l, 2))[:30], testBatching.MinPoints))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 2500)))
	startWorker(t, connections, pool)
	require.Eventually(t, func() bool {
		var rows, kept int
		err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM live_track_points),
			(SELECT count(*) FROM rejected_points WHERE payload IS NOT NULL AND task_id IS NOT NULL)`).Scan(&rows, &kept)
		return err == nil && rows == 2502 && kept == 2
	}, 20*time.Second, 20*time.Millisecond)
	inspector := NewInspector(connections, lane.All(lane.Options{}))
	require.Eventually(t, func() bool {
		queues, err := inspector.Queues()
		q := queues["live"]
		return err == nil && q.Pending+q.Active+q.Aggregating+q.Scheduled+q.Retry+q.Archived+q.Failed == 0
	}, 5*time.Second, 20*time.Millisecond, "something stays in the queue")
}

func TestWorker_WritesTheOthersOfABatchWithRefusedPoints(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	_, err := pool.Exec(t.Context(), `ALTER TABLE live_track_points ADD CHECK (elevation <> 1005.1)`)
	require.NoError(t, err)
	e, l := newTestEnqueuer(t, connections, 5*time.Second)
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 1000)))
	startWorker(t, connections, pool)
	require.Eventually(t, func() bool {
		var rows, refused int
		err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM live_track_points),
			(SELECT count(*) FROM rejected_points WHERE sqlstate = '23514' AND point->>'elevation' = '1005.1')`).Scan(&rows, &refused)
		return err == nil && rows == 999 && refused == 1
	}, 20*time.Second, 20*time.Millisecond)
}
