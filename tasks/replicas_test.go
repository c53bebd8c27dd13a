package tasks

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// The error says how many replicas have the write, and the connection is still good.
func TestReplicas_LetRedisAnswerBeforeTheContextEnds(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	conn, err := connect(t.Context(), connections.Enqueue, lane.All(lane.Options{})[0])
	require.NoError(t, err)
	defer conn.Close()
	r := newReplicas()
	r.required.Store(1) // which there is not
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err = r.await(ctx, conn)
	require.ErrorContains(t, err, "0 of 1 replicas of Redis have the write")
	assert.NoError(t, ctx.Err())
	assert.NoError(t, conn.Ping(t.Context()).Err())
}
