package tasks

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/internal/storetest"
	"tracklane/store"
)

// newCountingEnqueuer returns an enqueuer whose monitor runs until the test ends,
// and the live lane. Its batch tasks have at least two points.
func newCountingEnqueuer(t *testing.T, connections *Connections, maxWaiting int) (*Enqueuer, *lane.Lane) {
	t.Helper()
	lanes := lane.All(lane.Options{})
	monitor := NewMonitor(connections, lanes, slog.New(slog.DiscardHandler))
	pool := storetest.Open(t, "postgres://nobody@127.0.0.1:1/none")
	batching := testBatching
	batching.MinPoints = 2
	e := NewEnqueuer(connections, lanes, monitor, store.NewWriter(pool, lanes, 1000, nil), EnqueuerOptions{
		Batching: batching, Timeout: 5 * time.Second, MaxWaitingPoints: maxWaiting,
	}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { monitor.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	require.Eventually(t, func() bool { // each point from now on is counted once
		return connections.Work.Exists(t.Context(), waitingKey(lanes[len(lanes)-1])).Val() == 1
	}, 20*time.Second, 5*time.Millisecond)
	return e, lanes[0]
}

func TestEnqueuer_AdmitsNoMorePointsThanMayWait(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	const bound = 10_000
	e, l := newCountingEnqueuer(t, connections, bound)
	var accepted atomic.Int64
	send := func(points int) {
		if e.Enqueue(context.Background(), examplePoints(l, points)) == nil {
			accepted.Add(int64(points))
		}
	}
	for range 4 { // the oldest tasks are small
		send(2)
	}
	start := time.Now()
	var senders sync.WaitGroup
	for sender := range 64 {
		senders.Go(func() {
			for time.Since(start) < 4*monitorInterval {
				send([]int{1, 10, 100, 1000}[sender%4])
				<-time.After(time.Millisecond)
			}
		})
	}
	senders.Wait()
	assert.LessOrEqual(t, accepted.Load(), int64(bound))
	assert.Greater(t, accepted.Load(), int64(bound-1000))
	inspector := NewInspector(connections, []*lane.Lane{l})
	require.Eventually(t, func() bool {
		queues, err := inspector.Queues()
		if err != nil {
			return false
		}
		backlog, err := inspector.Backlog(t.Context(), l, queues[l.Name])
		return err == nil && int64(backlog.Points) == accepted.Load()
	}, 20*time.Second, 50*time.Millisecond, "operators see the number that the bound goes by")
}

// failAfterHook makes pipelines return an error though Redis executed them.
type failAfterHook struct{ fail *atomic.Bool }

func (failAfterHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (failAfterHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h failAfterHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		err := next(ctx, commands)
		if h.fail.Load() {
			err = context.DeadlineExceeded
			for _, command := range commands {
				command.SetErr(err)
			}
		}
		return err
	}
}

// newTestCounter returns a counter of points in queues that are empty at first.
func newTestCounter(connections *Connections, lanes []*lane.Lane) *waitingCounter {
	return newWaitingCounter(connections.Inspect, lanes, func(context.Context, *lane.Lane) (int, error) { return 0, nil })
}

func TestWaitingCounter_AddsAFlushOnceThoughRedisDidNotAcknowledgeIt(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	var fail atomic.Bool
	connections.Inspect.AddHook(failAfterHook{&fail})
	c, other := newTestCounter(connections, lanes), newWaitingCounter(connections.Work, lanes, nil)
	require.NoError(t, c.flush(t.Context()))
	c.add(l, 10)
	fail.Store(true)
	require.Error(t, c.flush(t.Context()))
	c.add(l, 5)
	require.Error(t, c.flush(t.Context()))
	assert.Equal(t, 15, c.total(), "what is not flushed counts at once")
	fail.Store(false)
	require.NoError(t, c.flush(t.Context()))
	require.NoError(t, c.flush(t.Context()))
	assert.Equal(t, 15, c.total())

	other.add(l, -15) // another process
	require.NoError(t, other.flush(t.Context()))
	require.NoError(t, c.flush(t.Context()))
	assert.Zero(t, c.total())
	assert.Zero(t, other.total())
}

func TestWaitingCounter_ReservesWithinTheLimit(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	c := newWaitingCounter(nil, lanes, nil)
	var reserved atomic.Int64
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if c.reserve(7, 100) {
				reserved.Add(7)
			}
		})
	}
	callers.Wait()
	assert.EqualValues(t, 98, reserved.Load())
	assert.False(t, c.reserve(3, 100))
	c.release(7)
	assert.True(t, c.reserve(3, 100))
}

func TestWaitingCounter_BeginsWithWhatAVersionThatDidNotCountHasQueued(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	enqueueBatches(t, connections, lanes[0], 20)
	first, second := NewMonitor(connections, lanes, slog.New(slog.DiscardHandler)).waiting, NewMonitor(connections, lanes, slog.New(slog.DiscardHandler)).waiting
	require.NoError(t, first.flush(t.Context()))
	require.NoError(t, second.flush(t.Context()))
	assert.Equal(t, 20, first.total())
	assert.Equal(t, 20, second.total())
}

func TestWorker_CountsWhatItWritesAsNoLongerWaiting(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	e, l := newCountingEnqueuer(t, connections, 10_000_000)
	require.NoError(t, e.Enqueue(t.Context(), pointAt(l, 1)))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 2500)))
	require.NoError(t, e.publisher.publish(t.Context(), l, newerPayload(l, 600), 600)) // stays, so that nothing is healed
	require.Eventually(t, func() bool { return e.publisher.waiting.total() == 3101 }, 20*time.Second, 20*time.Millisecond)
	startWorker(t, connections, pool)
	require.Eventually(t, func() bool {
		points, err := connections.Work.Get(t.Context(), waitingKey(l)).Int()
		return err == nil && points == 600 && countStored(t, pool) == 2501
	}, 30*time.Second, 50*time.Millisecond)
}

func TestDrainer_CountsWhatItDeletesAsNoLongerWaiting(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	enqueueBatches(t, connections, l, 3)
	handler := newTestHandler(connections, openMigrated(t), lanes, slog.New(slog.DiscardHandler))
	require.NoError(t, handler.waiting.flush(t.Context()))
	d := newDrainer(NewInspector(connections, lanes), handler, slog.New(slog.DiscardHandler))
	_, err := d.drainLane(t.Context(), l)
	require.NoError(t, err)
	assert.Zero(t, handler.waiting.total())
}

func TestWaitingHealer_HealsOnlyWhatIsSurelyWrong(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	l, client := lanes[0], connections.Work
	h := &waitingHealer{client: client, lane: l}
	set := func(points int) { require.NoError(t, client.Set(t.Context(), waitingKey(l), points, 0).Err()) }
	heal := func() bool {
		healed, err := h.heal(t.Context())
		require.NoError(t, err)
		return healed
	}
	assert.False(t, heal())
	set(100)
	assert.False(t, heal(), "others may not have flushed yet")
	set(90)
	assert.False(t, heal(), "it has changed")
	assert.True(t, heal())
	assert.Equal(t, "0", client.Get(t.Context(), waitingKey(l)).Val())

	set(-50)
	assert.False(t, heal())
	set(-40)
	assert.True(t, heal(), "it was negative for too long")

	for _, key := range []string{groupKey(l, "63"), retryKey(l), pendingKey(l)} {
		set(100)
		if key == pendingKey(l) {
			require.NoError(t, client.LPush(t.Context(), key, "id").Err())
		} else {
			require.NoError(t, client.ZAdd(t.Context(), key, redis.Z{Score: 1, Member: "id"}).Err())
		}
		assert.False(t, heal())
		assert.False(t, heal(), "the queue is not empty")
		require.NoError(t, client.Del(t.Context(), key).Err())
	}
}
