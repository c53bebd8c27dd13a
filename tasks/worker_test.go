package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/store"
)

func TestWorker_RunsOnce(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	worker := NewWorker(connections, lanes, NewMonitor(connections, lanes, slog.New(slog.DiscardHandler)), store.NewWriter(nil, lanes, 1000, nil),
		WorkerOptions{
			Concurrency: 1, Weights: map[string]int{"live": 1}, Batching: testBatching, ShutdownTimeout: time.Second,
		}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, worker.Run(ctx)) })
	require.Eventually(t, worker.started.Load, 10*time.Second, time.Millisecond)
	assert.EqualError(t, worker.Run(ctx), "start the worker: it was run before")
	stop()
	running.Wait()
}

func TestWorker_MakesEmptyQueuesKnownToAsynq(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	startWorker(t, connections, openMigrated(t))
	require.Eventually(t, func() bool {
		queues, err := connections.Work.SMembers(t.Context(), "asynq:queues").Result()
		return err == nil && assert.ObjectsAreEqual(
			map[string]bool{"live": true, "upload": true, "scoring": true, "flymaster": true}, setOf(queues))
	}, 2*maintenanceInterval, 20*time.Millisecond)
	// As when Redis has lost its data.
	require.NoError(t, connections.Work.FlushAll(t.Context()).Err())
	require.Eventually(t, func() bool {
		return connections.Work.SCard(t.Context(), "asynq:queues").Val() == 4
	}, 2*maintenanceInterval, 20*time.Millisecond)
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool)
	for _, name := range names {
		set[name] = true
	}
	return set
}

// asynq moves a task on with commands that a Redis without memory refuses, so a
// worker that left it to asynq would never store what fills that Redis.
func TestWorker_DrainsARedisThatIsOutOfMemory(t *testing.T) {
	t.Parallel()
	server := realRedis(t, t.TempDir(), "--maxmemory", "64mb")
	connections := connectTo(t, server)
	pool := openMigrated(t)
	enqueuer, l := newEnqueuerWith(connections, pool, 5*time.Second)
	const requests, points = 40, 600
	for request := range requests {
		batch := lane.NewPoints(l, points)
		track := batch.AddTrack(examplePoints(l, 1).Tracks[0])
		for i := range int64(points) {
			batch.Add(track, 1783958400_000_000+i, 46, float64(request))
		}
		require.NoError(t, enqueuer.Enqueue(t.Context(), batch))
	}
	// The queue itself now takes more than Redis may use.
	require.NoError(t, connections.Work.ConfigSet(t.Context(), "maxmemory", fmt.Sprint(1<<20)).Err())
	require.ErrorContains(t, connections.Work.Set(t.Context(), "more", "x", 0).Err(), "OOM")

	startWorker(t, connections, pool)
	require.Eventually(t, func() bool { return countStored(t, pool) == requests*points }, 30*time.Second, 50*time.Millisecond)
}
