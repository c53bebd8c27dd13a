package livestream

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server of a cluster that gets a message does not know of those who listen to another.
func TestPublisher_SendsOnAClusterThoughNobodyListensToTheSameServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster := servers.RedisCluster(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Servers[0].Address()}})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	listener := client.Subscribe(ctx, "test")
	defer listener.Close()
	_, err := listener.Receive(ctx)
	require.NoError(t, err)

	publisher := NewPublisher(client, "test")
	for number := range 20 {
		text := " " + strconv.Itoa(number) // the first byte is the publisher's
		publisher.send(ctx, []byte(text))
		assert.Zero(t, publisher.quietUntil.Load())
		message, err := listener.ReceiveMessage(ctx)
		require.NoError(t, err)
		assert.Equal(t, text, message.Payload)
	}
}
