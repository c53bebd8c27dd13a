package tasks

import (
	"testing"

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
		require.NoError(t, connections.Work.ConfigSet(t.Context(), "appendfsync", value).Err())
		state := inspector.Redis(t.Context())
		assert.True(t, state.AppendOnly)
		assert.Equal(t, value, state.AppendFsync)
	}
	// A hosted Redis may forbid CONFIG: nothing is known then, and the rest is.
	require.NoError(t, connections.Work.Do(t.Context(), "ACL", "SETUSER", "default", "-config").Err())
	state := inspector.Redis(t.Context())
	assert.True(t, state.Connected)
	assert.True(t, state.AppendOnly)
	assert.Empty(t, state.AppendFsync)
	assert.ErrorContains(t, connections.Work.ConfigGet(t.Context(), "appendfsync").Err(), "NOPERM")
}
