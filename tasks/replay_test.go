package tasks

import (
	"context"
	"net"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// newDurableEnqueuer returns an enqueuer, which does not run, with a database.
func newDurableEnqueuer(t *testing.T, connections *Connections) (*Enqueuer, *lane.Lane, *pgxpool.Pool) {
	t.Helper()
	pool := openMigrated(t)
	e, l := newEnqueuerWith(connections, pool, time.Second)
	return e, l, pool
}

func countStored(t *testing.T, pool *pgxpool.Pool) (rows int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows))
	return rows
}

// realRedis starts a Redis of its own directory; nil where there is none.
func realRedis(t *testing.T, dir string, arguments ...string) *devservers.Redis {
	t.Helper()
	server, err := devservers.StartRedis(t.Context(), devservers.RedisOptions{Dir: dir, Arguments: arguments})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	if server.InMemory() {
		t.Skip("needs a redis-server")
	}
	return server
}

func connectTo(t *testing.T, server *devservers.Redis) *Connections {
	t.Helper()
	address, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	connections := Connect(redis.UniversalOptions{Addrs: []string{address.Addr}}, 50)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	return connections
}

func TestReplayBuffer_KeepsNothingUnderAppendfsyncAlways(t *testing.T) {
	t.Parallel()
	e, l, _ := newDurableEnqueuer(t, connectTo(t, realRedis(t, t.TempDir())))
	e.publisher.replay.all[0].check(t.Context())
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 3)))
	assert.True(t, e.publisher.replay.all[0].isEmpty())
}

func TestReplayBuffer_DropsWhatRedisHasSynced(t *testing.T) {
	t.Parallel()
	e, l, pool := newDurableEnqueuer(t, connectTo(t, realRedis(t, t.TempDir(), "--appendfsync", "everysec")))
	r := e.publisher.replay.all[0]
	r.check(t.Context())
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 3)))
	r.check(t.Context())
	assert.False(t, r.isEmpty(), "its sync has not begun")
	require.Eventually(t, func() bool { r.check(t.Context()); return r.isEmpty() }, 30*time.Second, 50*time.Millisecond)
	assert.Zero(t, r.space.bytes)
	t.Log("rows that did not need to be stored:", countStored(t, pool))
}

func TestReplayBuffer_SavesWhatAFullDiskKeepsRedisFromWriting(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*devservers.Redis) error{
		"stopped": func(r *devservers.Redis) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			return r.Stop(ctx)
		},
		"killed": (*devservers.Redis).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := t.TempDir()
			if output, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk).CombinedOutput(); err != nil {
				t.Skipf("a small disk cannot be mounted: %s", output)
			}
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
			server := realRedis(t, disk, "--appendfsync", "everysec")
			e, l, pool := newDurableEnqueuer(t, connectTo(t, server))
			r := e.publisher.replay.all[0]
			r.check(t.Context())
			acknowledged := 0
			require.Eventually(t, func() bool {
				points := examplePoints(l, 100)
				for i := range points.Rows {
					points.Rows[i].Time += int64(acknowledged) * 1e6
				}
				if e.publisher.publishPoints(points, func(write func(context.Context) error) error { return write(t.Context()) }) != nil {
					return true
				}
				acknowledged += 100
				return false
			}, 30*time.Second, time.Microsecond, "the disk does not become full")
			ctx, stop := context.WithCancel(t.Context())
			running := make(chan struct{})
			go func() { defer close(running); r.run(ctx) }()
			require.Eventually(t, r.isEmpty, time.Minute, 50*time.Millisecond)
			stop()
			<-running
			require.NoError(t, end(server))
			// Some are safe with Redis, which had room for them, and the others here.
			assert.Positive(t, countStored(t, pool))
			t.Log("acknowledged", acknowledged, "stored", countStored(t, pool))
		})
	}
}

func TestReplayBuffer_FlushSavesWhenRedisIsDead(t *testing.T) {
	t.Parallel()
	server := realRedis(t, t.TempDir(), "--appendfsync", "everysec")
	e, l, pool := newDurableEnqueuer(t, connectTo(t, server))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 3)))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 700)))
	require.NoError(t, server.Kill())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e.Flush(ctx)
	require.NoError(t, ctx.Err())
	assert.True(t, e.publisher.replay.all[0].isEmpty())
	assert.Equal(t, 700, countStored(t, pool)) // the three are the first of the 700
}

func TestEnqueuer_BypassesRedisWhileTheReplayBufferIsFull(t *testing.T) {
	t.Parallel()
	e, l, _ := newDurableEnqueuer(t, connectTo(t, realRedis(t, t.TempDir(), "--appendfsync", "everysec")))
	for range 65 {
		e.publisher.replay.all[0].add(l, make([]byte, 1<<20), 1)
	}
	require.ErrorIs(t, e.Enqueue(t.Context(), examplePoints(l, 3)), ErrUnavailable)
	require.ErrorIs(t, e.EnqueueBypassingBreaker(t.Context(), examplePoints(l, 3)), ErrUnavailable)
	assert.Len(t, e.publisher.replay.all[0].entries, 65, "a copy was dropped for want of room")
}

func TestReplayBuffer_DoesNotCountTheOldMasterAsHavingThem(t *testing.T) {
	t.Parallel()
	old := realRedis(t, t.TempDir(), "--appendfsync", "everysec")
	promoted := realRedis(t, t.TempDir(), "--appendfsync", "everysec")
	var master atomic.Pointer[devservers.Redis]
	master.Store(old)
	connections := Connect(redis.UniversalOptions{
		Addrs: []string{"master"},
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			address, err := redis.ParseURL(master.Load().URL())
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, "tcp", address.Addr)
		},
	}, 50)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	e, l, _ := newDurableEnqueuer(t, connections)
	r := e.publisher.replay.all[0]
	r.check(t.Context())
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 700)))

	master.Store(promoted) // connections to the old one stay open
	require.NotEmpty(t, NewInspector(connections, []*lane.Lane{l}).Redis(t.Context()).RunID)
	r.check(t.Context())
	require.NoError(t, old.Kill())
	require.Eventually(t, func() bool {
		r.check(t.Context())
		return connections.Inspect.LLen(t.Context(), queuePrefix(l)+"pending").Val() == 1
	}, 20*time.Second, 50*time.Millisecond)
}

func TestReplayBuffer_NoticesARestartAfterAnOutage(t *testing.T) {
	t.Parallel()
	server := realRedis(t, t.TempDir(), "--appendonly", "no")
	connections := connectTo(t, server)
	e, l, _ := newDurableEnqueuer(t, connections)
	r := e.publisher.replay.all[0]
	r.check(t.Context())
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 700)))
	require.NoError(t, server.Kill())
	r.check(t.Context()) // does not take a Redis that does not respond for another one
	require.False(t, r.isEmpty())
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool {
		r.check(t.Context())
		return connections.Inspect.LLen(t.Context(), queuePrefix(l)+"pending").Val() == 1
	}, 20*time.Second, 50*time.Millisecond)
}
