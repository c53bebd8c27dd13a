package tasks

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// crashBound is how long after the crash of a worker the points that it had in
// hand are in their table, as the README promises, with another worker alive.
const crashBound = time.Minute

// aggregatorFunc is asynq's GroupAggregatorFunc, which may end its goroutine.
type aggregatorFunc func(group string, tasks []*asynq.Task) *asynq.Task

func (f aggregatorFunc) Aggregate(group string, tasks []*asynq.Task) *asynq.Task {
	return f(group, tasks)
}

// network is connections that can be cut all at once, for good.
type network struct {
	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil || n.isCut {
		return nil, errors.New("the network is cut")
	}
	n.conns = append(n.conns, conn)
	return conn, nil
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isCut = true
	for _, conn := range n.conns {
		_ = conn.Close()
	}
}

// crashWorker starts an asynq server that takes a group and so many batches of
// the queue live, and returns when it has them in hand and its connections are
// cut: to Redis it was killed.
func crashWorker(t *testing.T, address string, batches int) {
	t.Helper()
	var network network
	connections := Connect(redis.UniversalOptions{Addrs: []string{address}, Dialer: network.dial}, 20)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	inHand := make(chan struct{}, 1+batches)
	crashed := make(chan struct{})
	worker := asynq.NewServerFromRedisClient(connections.Work, asynq.Config{
		Queues: map[string]int{"live": 1}, Concurrency: 1, TaskCheckInterval: taskCheckInterval,
		GroupGracePeriod: time.Second, GroupMaxDelay: 2 * time.Second, ShutdownTimeout: time.Second,
		Logger: asynqLogger{slog.New(slog.DiscardHandler)},
		GroupAggregator: aggregatorFunc(func(string, []*asynq.Task) *asynq.Task {
			inHand <- struct{}{}
			<-crashed
			runtime.Goexit() // it never comes to the end of the aggregation
			return nil
		}),
	})
	require.NoError(t, worker.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		inHand <- struct{}{}
		<-crashed
		return nil
	})))
	for range cap(inHand) {
		select {
		case <-inHand:
		case <-time.After(30 * time.Second):
			require.FailNow(t, "the worker does not take its tasks")
		}
	}
	network.cut()
	close(crashed)
	worker.Shutdown()
}

func TestWorker_FindsWhatACrashedWorkerHadInHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		points  int
		batches int // batch tasks that the points are
	}{
		"a group that it aggregated": {points: 1},
		"a batch that it wrote":      {points: testBatching.MinPoints, batches: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, connections := startRedis(t)
			address, err := redis.ParseURL(server.URL())
			require.NoError(t, err)
			pool := openMigrated(t)
			e, l := newTestEnqueuer(t, connections, 5*time.Second)
			if c.batches > 0 { // crashWorker waits for a group as well
				require.NoError(t, e.Enqueue(t.Context(), pointAt(l, 1_000_000)))
			}
			require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, c.points)))
			crashWorker(t, address.Addr, c.batches)
			crash := time.Now()

			startWorker(t, connections, pool)
			want := c.points + c.batches
			require.Eventually(t, func() bool {
				var rows int
				err := pool.QueryRow(t.Context(), `SELECT count(*) FROM `+l.Table).Scan(&rows)
				return err == nil && rows == want
			}, crashBound, 100*time.Millisecond)
			t.Log("after", time.Since(crash).Round(time.Second))

			inspector := NewInspector(connections, lane.All(lane.Options{}))
			require.Eventually(t, func() bool {
				queues, err := inspector.Queues()
				q := queues[l.Name]
				return err == nil && q.Pending+q.Active+q.Aggregating+q.Retry+q.Archived == 0
			}, 20*time.Second, 100*time.Millisecond, "something stays in the queue")
		})
	}
}
