package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
)

func openDatabase(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// requireRows waits until a query counts as many rows.
func requireRows(t *testing.T, pool *pgxpool.Pool, want int, query string, arguments ...any) {
	t.Helper()
	require.Eventually(t, func() bool {
		var got int
		err := pool.QueryRow(context.Background(), query, arguments...).Scan(&got)
		return err == nil && got == want
	}, 30*time.Second, 50*time.Millisecond, "%s: want %d", query, want)
}

func openRedis(t *testing.T, server *devservers.Redis) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	options.MaxRetries = -1
	client := redis.NewClient(options)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}
