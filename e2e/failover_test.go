package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/devservers"
)

// startReplicated starts a master that accepts writes only while its replica is at
// most two seconds behind, the replica, and a Sentinel; ok is false where there is
// no redis-server.
func startReplicated(t *testing.T) (master, replica *devservers.Redis, sentinel *devservers.Sentinel, ok bool) {
	t.Helper()
	start := func(options devservers.RedisOptions) *devservers.Redis {
		options.Dir = t.TempDir()
		options.Arguments = []string{"--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"}
		server, err := devservers.StartRedis(t.Context(), options)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, server.Kill()) })
		return server
	}
	if master = start(devservers.RedisOptions{}); master.InMemory() {
		return master, nil, nil, false
	}
	replica = start(devservers.RedisOptions{ReplicaOf: master.Address()})
	require.NoError(t, replica.AwaitReplication(t.Context()))
	sentinel, err := devservers.StartSentinel(t.Context(), devservers.SentinelOptions{
		Dir: t.TempDir(), Master: master.Address(), DownAfter: 5 * time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sentinel.Kill()) })
	return master, replica, sentinel, true
}

// A replica that lags takes over, and the API that has copies of what it enqueued is
// killed with the master: what the replica lacks was not acknowledged before it was in
// the database.
func TestFailover_OfALaggingReplicaLosesNothing(t *testing.T) {
	t.Parallel()
	master, replica, sentinel, ok := startReplicated(t)
	if !ok {
		return
	}
	database := servers.Database(t)
	api := startProcess(t, "api", "DATABASE_URL="+database, "REDIS_URL="+sentinel.URL())
	pool := openDatabase(t, database)
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	sent := 0
	send := func() (code int) {
		got := postJSON(t, api.url+"/live", flight(fmt.Sprint("f", sent), 20))
		require.Contains(t, []int{201, 202}, got.code, got.text)
		sent++
		return got.code
	}
	require.Eventually(t, func() bool { return send() == 202 }, 20*time.Second, 50*time.Millisecond)

	require.NoError(t, replica.Pause()) // so that it lags
	for range 20 {
		assert.Equal(t, 201, send(), "queued where the replica does not have it")
	}
	require.NoError(t, api.Kill())
	require.NoError(t, master.Kill())
	require.NoError(t, replica.Resume())
	require.Eventually(t, func() bool {
		found, err := sentinel.Master(t.Context())
		return err == nil && found == replica.Address()
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, openRedis(t, replica).ConfigSet(t.Context(), "min-replicas-to-write", "0").Err()) // it is alone now

	startServer(t, app.Roles{Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+sentinel.URL())
	requireRows(t, pool, 20*sent, `SELECT count(*) FROM live_track_points`)
}
