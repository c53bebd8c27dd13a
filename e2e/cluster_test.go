package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// clusterRun is an installation on a Redis Cluster, and the rounds of points that were
// posted to it.
type clusterRun struct {
	cluster *devservers.RedisCluster
	server  *server
	pool    *pgxpool.Pool
	rounds  int
}

// post posts a round of three points to each lane until all are acknowledged, and
// reports whether Redis has taken them all.
func (r *clusterRun) post(t *testing.T) (queued bool) {
	t.Helper()
	var codes []int
	for deadline := time.Now().Add(10 * time.Second); codes == nil || slices.Contains(codes, 503); {
		require.True(t, time.Now().Before(deadline), "points are refused for too long")
		codes = nil
		for _, got := range postEverywhere(t, r.server, r.rounds) { // what got 503 is to be sent again
			require.Contains(t, []int{201, 202, 503}, got.code, got.text)
			if got.code == 503 {
				require.NotEmpty(t, got.header.Get("Retry-After"))
			}
			codes = append(codes, got.code)
		}
	}
	r.rounds++
	return !slices.Contains(codes, 201)
}

// postUntil posts until a condition holds and Redis takes all again.
func (r *clusterRun) postUntil(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !r.post(t) || !done(); {
		require.True(t, time.Now().Before(deadline), "points bypass Redis for too long")
	}
}

// requireStored waits until each table has exactly what was acknowledged. What a worker
// had in hand when a master was killed is taken up again after half a minute.
func (r *clusterRun) requireStored(t *testing.T) {
	t.Helper()
	for _, l := range lane.All(lane.Options{}) {
		var rows int
		assert.Eventually(t, func() bool {
			err := r.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+l.Table).Scan(&rows)
			return err == nil && rows >= 3*r.rounds
		}, 90*time.Second, 50*time.Millisecond)
		assert.Equal(t, 3*r.rounds, rows, "rows of the lane %s", l.Name)
	}
}

// masterOf returns which server has a lane's queue.
func (r *clusterRun) masterOf(t *testing.T, queue string) *devservers.Redis {
	t.Helper()
	master, err := r.cluster.MasterOf(t.Context(), "asynq:{"+queue+"}:pending")
	require.NoError(t, err)
	return master
}

func TestRedisCluster_LosesNothingWhenAMasterDiesAndASlotMoves(t *testing.T) {
	t.Parallel()
	cluster, database := servers.RedisCluster(t), servers.Database(t)
	serve := startProcess(t, "serve", "DATABASE_URL="+database, "REDIS_URL="+cluster.URL())
	r := &clusterRun{cluster: cluster, server: &server{url: serve.url}, pool: openDatabase(t, database)}
	requireRows(t, r.pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	r.postUntil(t, func() bool { return true })
	r.requireStored(t)
	in := &installation{api: serve.url}
	for _, path := range []string{"/queue/status", "/health", "/metrics", "/readyz", "/asynqmon/api/queues", "/asynqmon/api/redis_info"} {
		assert.Equal(t, http.StatusOK, in.get(t, path, nil), path)
	}
	require.Eventually(t, func() bool {
		status := in.queueStatus(t)
		return status.Redis.Connected && *status.Queues["live"].Processed > 0 && len(status.Processors) == 1
	}, 10*time.Second, 50*time.Millisecond)

	killed := r.masterOf(t, "live")
	require.NoError(t, killed.Kill())
	r.postUntil(t, func() bool { return r.masterOf(t, "live") != killed })

	from, to := r.masterOf(t, "upload"), r.masterOf(t, "live")
	require.NotEqual(t, from, to)
	moved := make(chan error, 1)
	go func() { moved <- cluster.MoveSlot(t.Context(), "{upload}", from, to) }()
	r.postUntil(t, func() bool { return len(moved) == 1 })
	require.NoError(t, <-moved)
	r.postUntil(t, func() bool { return r.masterOf(t, "upload") == to })
	r.requireStored(t)
	require.Eventually(t, func() bool { // the first response may be that the killed master is down
		return in.get(t, "/asynqmon/api/queues", nil) == http.StatusOK
	}, 10*time.Second, 100*time.Millisecond)
	t.Log(3*r.rounds, "points in each lane")
}
