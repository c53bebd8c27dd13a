package devservers

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedis_KeepsItsDataAndURLThroughStopAndKill(t *testing.T) {
	t.Parallel()
	for name, embedded := range map[string]bool{"as it is installed here": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startedRedis(t, RedisOptions{Dir: testDir(t), Embedded: embedded})
			client := clientOf(t, server)
			require.NoError(t, client.Set(t.Context(), "kept", "1", 0).Err())

			require.NoError(t, server.Stop(t.Context()))
			require.NoError(t, server.Stop(t.Context()), "stopping twice")
			require.Error(t, client.Ping(t.Context()).Err())
			require.NoError(t, server.Restart(t.Context()))
			require.NoError(t, client.Incr(t.Context(), "kept").Err())

			require.NoError(t, server.Kill())
			require.NoError(t, server.Restart(t.Context()))
			// The client has a connection to the one that was killed, and may not know it.
			kept, err := clientOf(t, server).Get(t.Context(), "kept").Result()
			require.NoError(t, err)
			assert.Equal(t, "2", kept)
		})
	}
}

func TestRedis_KeysOfTheEmbeddedOneExpire(t *testing.T) {
	t.Parallel()
	server := startedRedis(t, RedisOptions{Embedded: true})
	assert.True(t, server.InMemory())
	client := clientOf(t, server)
	require.NoError(t, client.Set(t.Context(), "short", "", time.Second).Err())
	require.Eventually(t, func() bool { return client.Exists(t.Context(), "short").Val() == 0 },
		5*time.Second, 20*time.Millisecond)
}

func TestStartRedis_SetsAnInstalledOneUpToLoseNothing(t *testing.T) {
	t.Parallel()
	server := installedRedis(t, RedisOptions{Dir: testDir(t), Arguments: []string{"--maxmemory", "64mb"}})
	client := clientOf(t, server)
	for setting, value := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction",
		"bind": "127.0.0.1", "maxmemory": "67108864",
		"hash-max-ziplist-value": "512", "zset-max-ziplist-entries": "1024",
		"auto-aof-rewrite-min-size": "536870912",
	} {
		t.Run(setting, func(t *testing.T) {
			assert.Equal(t, map[string]string{setting: value}, client.ConfigGet(t.Context(), setting).Val())
		})
	}
}

func TestRedis_RespondsToNobodyWhilePaused(t *testing.T) {
	t.Parallel()
	server := installedRedis(t, RedisOptions{Dir: testDir(t)})
	client := clientOf(t, server)
	require.NoError(t, client.Ping(t.Context()).Err())
	require.NoError(t, server.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Ping(ctx).Err(), os.ErrDeadlineExceeded)
	require.NoError(t, server.Resume())
	require.NoError(t, client.Ping(t.Context()).Err())
}

func TestStartRedis_StopsTheOneLeftRunning(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	orphan := installedRedis(t, RedisOptions{Dir: dir})
	require.NoError(t, clientOf(t, orphan).Set(t.Context(), "kept", "1", 0).Err())
	_, err := StartRedis(t.Context(), RedisOptions{Dir: dir})
	require.ErrorContains(t, err, "another tracklane uses this data directory")
	child := orphan.redisServer.(*server)
	child.lock.release() // as the operating system does for a process that died

	next := installedRedis(t, RedisOptions{Dir: dir})
	<-child.process.Done()
	assert.Equal(t, "1", clientOf(t, next).Get(t.Context(), "kept").Val())
}

func TestRedis_CanBeStoppedAfterAFailedRestart(t *testing.T) {
	t.Parallel()
	server := installedRedis(t, RedisOptions{Dir: testDir(t)})
	require.NoError(t, server.Stop(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, server.Restart(ctx), context.Canceled)
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Restart(t.Context()))
}

func TestStartRedis_ErrorSaysWhatRedisSays(t *testing.T) {
	t.Parallel()
	installedRedis(t, RedisOptions{Dir: testDir(t)})
	_, err := StartRedis(t.Context(), RedisOptions{Dir: testDir(t), Arguments: []string{"--no-such-setting", "1"}})
	require.ErrorContains(t, err, "no-such-setting")
}

// installedRedis starts a real server, and skips t where there is none.
func installedRedis(t *testing.T, options RedisOptions) *Redis {
	t.Helper()
	server := startedRedis(t, options)
	if server.InMemory() {
		t.Skip("needs redis-server or valkey-server on PATH")
	}
	return server
}

// startedRedis starts a server and kills it when t ends.
func startedRedis(t *testing.T, options RedisOptions) *Redis {
	t.Helper()
	server, err := StartRedis(t.Context(), options)
	require.NoError(t, err)
	t.Log("redis:", server.Name())
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	return server
}

func clientOf(t *testing.T, server *Redis) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	options.MaxRetries, options.DialerRetries = -1, 1
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}
