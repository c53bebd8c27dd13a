package devservers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedisCluster_MovesASlotAndFailsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := StartRedisCluster(ctx, RedisClusterOptions{Dir: t.TempDir(), NodeTimeout: 2 * time.Second})
	if errors.Is(err, ErrNoRedisCluster) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Kill()) })
	master, err := cluster.MasterOf(ctx, "{live}")
	require.NoError(t, err)
	client := clientOf(t, master)
	require.NoError(t, client.Set(ctx, "{live}:key", "kept", 0).Err())

	other := cluster.Servers[0]
	if other == master {
		other = cluster.Servers[1]
	}
	require.NoError(t, cluster.MoveSlot(ctx, "{live}", master, other))
	assert.Equal(t, "kept", clientOf(t, other).Get(ctx, "{live}:key").Val())
	require.ErrorContains(t, client.Get(ctx, "{live}:key").Err(), "MOVED")

	require.NoError(t, clientOf(t, other).Wait(ctx, 1, time.Minute).Err())
	require.NoError(t, other.Kill())
	require.Eventually(t, func() bool {
		next, err := cluster.MasterOf(ctx, "{live}")
		return err == nil && next != other && clientOf(t, next).Get(ctx, "{live}:key").Val() == "kept"
	}, 30*time.Second, 100*time.Millisecond)
}
