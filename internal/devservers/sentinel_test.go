package devservers

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSentinel_MakesTheReplicaTheMaster(t *testing.T) {
	t.Parallel()
	master := installedRedis(t, RedisOptions{Dir: testDir(t)})
	require.NoError(t, clientOf(t, master).Set(t.Context(), "before", "1", 0).Err())
	replica := startedRedis(t, RedisOptions{Dir: testDir(t), ReplicaOf: master.Address()})
	requireReplica := func(r *Redis) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, r.AwaitReplication(ctx))
	}
	requireReplica(replica)
	assert.Equal(t, "1", clientOf(t, replica).Get(t.Context(), "before").Val())
	require.ErrorContains(t, clientOf(t, replica).Set(t.Context(), "key", "", 0).Err(), "READONLY")

	sentinel, err := StartSentinel(t.Context(), SentinelOptions{Dir: testDir(t), Master: master.Address(), DownAfter: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sentinel.Kill()) })
	assert.Contains(t, sentinel.URL(), "redis-sentinel://127.0.0.1:")
	requireMaster := func(want *Redis) {
		t.Helper()
		require.Eventually(t, func() bool {
			found, err := sentinel.Master(t.Context())
			return err == nil && found == want.Address()
		}, time.Minute, 50*time.Millisecond)
	}
	requireMaster(master)

	require.NoError(t, master.Kill())
	requireMaster(replica)
	require.NoError(t, clientOf(t, replica).Set(t.Context(), "after", "1", 0).Err())

	require.NoError(t, master.Restart(t.Context()), "it is told that it is a replica now")
	requireReplica(master) // a Sentinel that got no processor for 2 s does nothing for 30 s
	assert.Equal(t, "1", clientOf(t, master).Get(t.Context(), "after").Val())
	require.NoError(t, replica.Stop(t.Context()))
	require.NoError(t, replica.Restart(t.Context()))
	require.NoError(t, clientOf(t, replica).Set(t.Context(), "again", "1", 0).Err(), "it stays the master")
}

func TestStartRedis_TheEmbeddedOneReplicatesNothing(t *testing.T) {
	t.Parallel()
	_, err := StartRedis(t.Context(), RedisOptions{Embedded: true, ReplicaOf: "127.0.0.1:1"})
	require.ErrorContains(t, err, "install redis-server")
}
