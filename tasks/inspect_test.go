package tasks

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestInspector_RedisReportsWhenItsFileIsSynced(t *testing.T) {
	t.Parallel()
	server, connections := startRedis(t)
	if server.InMemory() {
		return
	}
	inspector := NewInspector(connections, lane.All(lane.Options{}))
	for _, value := range []string{"always", "everysec", "no"} {
		t.Run(value, func(t *testing.T) {
			require.NoError(t, connections.Work.ConfigSet(t.Context(), "appendfsync", value).Err())
			state := inspector.Redis(t.Context())
			assert.True(t, state.AppendOnly)
			assert.Equal(t, value, state.AppendFsync)
		})
	}
	// A hosted Redis may forbid CONFIG: nothing is known then, and the rest is.
	require.NoError(t, connections.Work.Do(t.Context(), "ACL", "SETUSER", "default", "-config").Err())
	state := inspector.Redis(t.Context())
	assert.True(t, state.Connected)
	assert.True(t, state.AppendOnly)
	assert.Empty(t, state.AppendFsync)
	assert.ErrorContains(t, connections.Work.ConfigGet(t.Context(), "appendfsync").Err(), "NOPERM")
}

func TestInspector_RedisReportsReplicas(t *testing.T) {
	t.Parallel()
	server, replica := realRedis(t, t.TempDir()), realRedis(t, t.TempDir())
	connections := connectTo(t, server)
	address, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(address.Addr)
	require.NoError(t, err)
	inspector := NewInspector(connections, lane.All(lane.Options{}))
	assert.Zero(t, inspector.Redis(t.Context()).Replicas)
	require.NoError(t, connectTo(t, replica).Work.ReplicaOf(t.Context(), host, port).Err())
	require.Eventually(t, func() bool { return inspector.Redis(t.Context()).Replicas == 1 }, 30*time.Second, 20*time.Millisecond)
	assert.Equal(t, "0", inspector.Redis(t.Context()).MinReplicas)
	require.NoError(t, connections.Work.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	assert.Equal(t, "1", inspector.Redis(t.Context()).MinReplicas)
}
