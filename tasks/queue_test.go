package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/internal/storetest"
	"tracklane/store"
)

var testBatching = Batching{MinPoints: 500, MaxPoints: 1000, GracePeriod: time.Second, MaxDelay: 2 * time.Second}

// startRedis starts a Redis for one test and returns the pools to it.
func startRedis(t testing.TB) (*devservers.Redis, *Connections) {
	t.Helper()
	server, err := devservers.StartRedis(t.Context(), devservers.RedisOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Log("Redis of this test:", server.Name())
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	address, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	connections := Connect(redis.UniversalOptions{Addrs: []string{address.Addr}}, 50)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	return server, connections
}

// newTestEnqueuer returns an enqueuer whose database is down.
func newTestEnqueuer(t testing.TB, connections *Connections, timeout time.Duration) (*Enqueuer, *lane.Lane) {
	t.Helper()
	return newEnqueuerWith(connections, storetest.Open(t, "postgres://nobody@127.0.0.1:1/none"), timeout)
}

// newEnqueuerWith returns an enqueuer, which does not run, and the live lane.
func newEnqueuerWith(connections *Connections, pool *pgxpool.Pool, timeout time.Duration) (*Enqueuer, *lane.Lane) {
	lanes := lane.All(lane.Options{})
	return NewEnqueuer(connections, lanes, NewMonitor(connections, lanes, slog.New(slog.DiscardHandler)), store.NewWriter(pool, lanes, 1000, nil), EnqueuerOptions{
		Batching: testBatching, Timeout: timeout, MaxWaitingPoints: 10_000_000,
	}, slog.New(slog.DiscardHandler)), lanes[0]
}

func TestSplitEvenly(t *testing.T) {
	for points, want := range map[int][]int{
		500: {500}, 1000: {1000}, 1001: {501, 500}, 1999: {1000, 999}, 2001: {667, 667, 667}, 2500: {834, 833, 833},
	} {
		assert.Equal(t, want, splitEvenly(points, 1000), "%d points", points)
	}
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.IntRange(1, 1000).Draw(t, "min")
		most := rapid.IntRange(2*least-1, 3000).Draw(t, "max")
		points := rapid.IntRange(least, 100_000).Draw(t, "points")
		total := 0
		sizes := splitEvenly(points, most)
		for _, size := range sizes {
			total += size
			require.GreaterOrEqual(t, size, least)
			require.LessOrEqual(t, size, most)
			require.LessOrEqual(t, sizes[0]-size, 1)
		}
		require.Equal(t, points, total)
	})
}

func TestGroups_AreFilledOneAfterAnother(t *testing.T) {
	for _, rate := range []int{1, 100, 10_000} {
		t.Run(fmt.Sprint(rate, " requests a second"), func(t *testing.T) {
			g := newGroups(500, 2*time.Second)
			start := time.Now()
			used := map[string]int{}
			for i := range 5 * rate {
				used[g.next(1, start.Add(time.Duration(i)*time.Second/time.Duration(rate)))]++
			}
			// A batch's worth of points a group, and one group while they trickle.
			assert.LessOrEqual(t, len(used), max(1, min(groupCount, 5*rate/500)))
			if rate == 10_000 {
				assert.Len(t, used, groupCount, "much traffic is spread over all groups")
			}
		})
	}
}

func TestBatcher_WritesRequestsThatArriveTogetherAtOnce(t *testing.T) {
	server, connections := startRedis(t)
	e, l := newTestEnqueuer(t, connections, 5*time.Second)
	waits := func(points int, writing bool) func() bool {
		return func() bool { return waitsFor(e.batchers[l.Name], points, writing) }
	}
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 1))) // the first one loads a script
	require.Eventually(t, waits(0, false), 10*time.Second, time.Millisecond)
	if !server.InMemory() {
		require.NoError(t, server.Pause()) // until all are waiting
	}
	const requests = 1200
	var waiting sync.WaitGroup
	send := func() { assert.NoError(t, e.Enqueue(context.Background(), examplePoints(l, 1))) }
	waiting.Go(send)
	if !server.InMemory() {
		require.Eventually(t, waits(0, true), 10*time.Second, time.Millisecond, "the first is on its way")
	}
	for range requests - 1 {
		waiting.Go(send)
	}
	if !server.InMemory() {
		require.Eventually(t, waits(requests-1, true), 10*time.Second, time.Millisecond)
		require.NoError(t, server.Resume())
	}
	waiting.Wait()

	queues, err := NewInspector(connections, lane.All(lane.Options{})).Queues()
	require.NoError(t, err)
	tasks := queues[l.Name].Pending + queues[l.Name].Aggregating
	assert.Less(t, tasks, requests/2, "each request made a task of its own")
	require.NoError(t, e.publisher.waiting.flush(t.Context()))
	backlog, err := NewInspector(connections, lane.All(lane.Options{})).Backlog(t.Context(), l, queues[l.Name])
	require.NoError(t, err)
	assert.Equal(t, 1+requests, backlog.Points)
	if !server.InMemory() {
		assert.LessOrEqual(t, tasks, 20)
		assert.Positive(t, queues[l.Name].Pending, "500 points and more are a batch at once")
	}
}

func TestEnqueuer_AcknowledgesNothingThatRedisHasNot(t *testing.T) {
	server, connections := startRedis(t)
	e, l := newTestEnqueuer(t, connections, 100*time.Millisecond)
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 1)))
	require.NoError(t, server.Kill())
	start := time.Now()
	require.Error(t, e.Enqueue(t.Context(), examplePoints(l, 1)))
	require.ErrorIs(t, e.Enqueue(t.Context(), examplePoints(l, 700)), ErrUnavailable)
	assert.Less(t, time.Since(start), 500*time.Millisecond)
	require.Error(t, e.EnqueueBypassingBreaker(t.Context(), examplePoints(l, 1)))
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, e.EnqueueBypassingBreaker(t.Context(), examplePoints(l, 1)), "it is asked though the breaker is open")
	assert.False(t, e.Available())

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	require.Eventually(t, e.Available, 5*time.Second, 10*time.Millisecond)
	stop()
	running.Wait()
}

func TestBackpressure_RefusesTheLeastUrgentLaneFirst(t *testing.T) {
	lanes := lane.All(lane.Options{})
	p := newBackpressure(lanes, 1000, newWaitingCounter(nil, lanes, nil), slog.New(slog.DiscardHandler))
	allowed := func() (names []string) {
		for _, l := range lanes {
			if points := examplePoints(l, 1); p.admit(points) {
				p.release(points)
				names = append(names, l.Name)
			}
		}
		return names
	}
	below := func() (names []string) {
		for _, l := range lanes {
			if p.below(l.Priority) {
				names = append(names, l.Name)
			}
		}
		return names
	}
	for _, c := range []struct {
		waiting int
		memory  float64
		want    []string
	}{
		{0, 0, []string{"live", "upload", "scoring", "flymaster"}},
		{800, 0, []string{"live", "upload", "scoring"}},
		{900, 0, []string{"live"}},
		{1000, 0, nil},
		{0, 0.8, []string{"live"}},
		{0, 0.9, nil},
	} {
		p.waiting.add(lanes[0], c.waiting)
		p.memory.store(c.memory)
		assert.Equal(t, c.want, below(), c)
		assert.Equal(t, c.want, allowed(), c)
		p.waiting.add(lanes[0], -c.waiting)
	}
}

func TestAggregator_KeepsBatchesWithinTheirMaximum(t *testing.T) {
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	a := &aggregator{
		client:   asynq.NewClientFromRedisClient(connections.Work),
		lanes:    map[string]*lane.Lane{l.Name: l},
		batching: testBatching, logger: slog.New(slog.DiscardHandler),
	}
	var tasks []*asynq.Task
	total := 0
	for i := range 20 {
		points := examplePoints(l, 10+i*20)
		total += points.Len()
		tasks = append(tasks, asynq.NewTask(taskType(l.Name, smallTask), Encode(nil, points)))
	}
	tasks = append(tasks, asynq.NewTask(taskType(l.Name, smallTask), []byte("garbage")))
	last := a.Aggregate("0", tasks)
	assert.Equal(t, "live:batch", last.Type())
	count, err := Count(last.Payload())
	require.NoError(t, err)
	assert.LessOrEqual(t, count, testBatching.MaxPoints)

	pending, err := asynq.NewInspectorFromRedisClient(connections.Inspect).ListPendingTasks("live", asynq.PageSize(100))
	require.NoError(t, err)
	garbage := 0
	for _, task := range pending {
		assert.Greater(t, task.MaxRetry, 1_000_000, "the options of a batch are kept")
		points, err := Count(task.Payload)
		if err != nil {
			garbage++
			continue
		}
		assert.LessOrEqual(t, points, testBatching.MaxPoints)
		count += points
	}
	assert.Equal(t, total, count)
	assert.Equal(t, 1, garbage, "what cannot be read takes no good points with it")
}

func TestRecoverOrphanedGroups(t *testing.T) {
	_, connections := startRedis(t)
	e, l := newTestEnqueuer(t, connections, time.Second)
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 1)))
	client := connections.Work
	require.NoError(t, client.Del(t.Context(), groupsKey(l)).Err())
	recovered, err := recoverOrphanedGroups(t.Context(), client, l)
	require.NoError(t, err)
	assert.Equal(t, 1, recovered)
	recovered, err = recoverOrphanedGroups(t.Context(), client, l)
	require.NoError(t, err)
	assert.Zero(t, recovered, "a group that is listed is left alone")
}

func TestReplayBuffer_QueuesAgainWhatARestartedRedisForgot(t *testing.T) {
	server, err := devservers.StartRedis(t.Context(), devservers.RedisOptions{Dir: t.TempDir(), Arguments: []string{"--appendonly", "no"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	if server.InMemory() {
		t.Skip("the embedded Redis forgets nothing")
	}
	address, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	connections := Connect(redis.UniversalOptions{Addrs: []string{address.Addr}}, 50)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	e, l := newTestEnqueuer(t, connections, time.Second)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	require.Eventually(t, func() bool {
		e.publisher.replay.all[0].mu.Lock()
		defer e.publisher.replay.all[0].mu.Unlock()
		return e.publisher.replay.all[0].runID != ""
	}, 5*time.Second, 10*time.Millisecond)

	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 3)))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 700)))
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool {
		pending := connections.Inspect.LLen(t.Context(), queuePrefix(l)+"pending").Val()
		groups := connections.Inspect.SCard(t.Context(), groupsKey(l)).Val()
		return pending == 1 && groups == 1
	}, 10*time.Second, 20*time.Millisecond)
}

// BenchmarkAggregate joins a group of 500 tasks of one point each.
func BenchmarkAggregate(b *testing.B) {
	l := lane.All(lane.Options{})[0]
	a := &aggregator{lanes: map[string]*lane.Lane{l.Name: l}, batching: testBatching, logger: slog.New(slog.DiscardHandler)}
	var tasks []*asynq.Task
	for range testBatching.MinPoints {
		tasks = append(tasks, asynq.NewTask(taskType(l.Name, smallTask), Encode(nil, examplePoints(l, 1))))
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Aggregate("0", tasks)
	}
}

// What cannot be read must not go with good points: the writer would dead-letter
// them all.
func TestAggregator_KeepsTheGroupIfABadPayloadCannotBeEnqueued(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	a := &aggregator{
		client: asynq.NewClientFromRedisClient(client), lanes: map[string]*lane.Lane{"live": lanes[0]},
		batching: testBatching, logger: slog.New(slog.DiscardHandler),
	}
	good := asynq.NewTask("live:points", Encode(nil, examplePoints(lanes[0], 400)))
	bad := asynq.NewTask("live:points", []byte("garbage"))
	assert.Nil(t, a.Aggregate("1", []*asynq.Task{good, bad, good}))

	all := a.Aggregate("1", []*asynq.Task{good, good, good})
	count, err := Count(all.Payload())
	require.NoError(t, err)
	assert.Equal(t, 1200, count, "a full batch that cannot be enqueued stays with the rest")
}
