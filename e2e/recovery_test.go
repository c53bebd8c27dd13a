package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// post sends a point of a flight to the live lane, and requires a 202.
func (in *installation) post(t *testing.T, flight string) {
	t.Helper()
	response, err := http.Post(in.api+"/live", "application/json", strings.NewReader(
		`{"flight_id":"`+flight+`","track_points":[{"datetime":"2026-07-14T10:00:00Z","lat":46,"lon":7}]}`))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusAccepted, response.StatusCode)
}

// requireStored waits until the flight has one row.
func (in *installation) requireStored(t *testing.T, flight string, within time.Duration) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), in.postgres.DSN())
	require.NoError(t, err)
	defer pool.Close()
	require.Eventually(t, func() bool {
		var rows int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points WHERE flight_id = $1`, flight).Scan(&rows)
		return err == nil && rows == 1
	}, within, 50*time.Millisecond, "the flight %s is not stored", flight)
}

// live returns what asynq knows of the queue live.
func (in *installation) live(t *testing.T) *asynq.QueueInfo {
	t.Helper()
	info, err := asynq.NewInspectorFromRedisClient(in.client).GetQueueInfo("live")
	require.NoError(t, err)
	return info
}

func TestRecovery_TaskOfAKilledWorkerComesBack(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	first := in.startWorker(t)
	require.NoError(t, in.postgres.Pause()) // so that the task stays in hand
	in.post(t, "killed")
	require.Eventually(t, func() bool { return in.live(t).Active == 1 }, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, first.Kill())
	require.NoError(t, in.postgres.Resume())

	// What would take a minute: the worker's lease of the task runs out.
	const leases = "asynq:{live}:lease"
	held, err := in.client.ZRange(t.Context(), leases, 0, -1).Result()
	require.NoError(t, err)
	require.Len(t, held, 1)
	long := float64(time.Now().Add(-2 * time.Minute).Unix())
	require.NoError(t, in.client.ZAdd(t.Context(), leases, redis.Z{Score: long, Member: held[0]}).Err())

	in.startWorker(t)
	in.requireStored(t, "killed", 40*time.Second)
	assert.Zero(t, in.live(t).Archived)
}

func TestRecovery_DatabaseOutageUsesUpNoRetriesAndArchivesNothing(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.startWorker(t)
	require.NoError(t, in.postgres.Kill())
	in.post(t, "outage")
	inspector := asynq.NewInspectorFromRedisClient(in.client)
	require.Eventually(t, func() bool { return in.live(t).Retry == 1 }, 40*time.Second, 50*time.Millisecond,
		"the task does not come back to the queue")
	tasks, err := inspector.ListRetryTasks("live")
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	assert.Zero(t, tasks[0].Retried, "a failure that the task is not to blame for counts")
	assert.Greater(t, tasks[0].MaxRetry, 1_000_000)

	require.NoError(t, in.postgres.Restart(t.Context()))
	in.requireStored(t, "outage", 40*time.Second)
	assert.Zero(t, in.live(t).Archived)
}

func TestRecovery_WritesAGroupThatACrashLeftBehind(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.post(t, "stranded")
	// What asynq leaves when a process dies while it aggregates: the task is
	// in its group, and the group is on no list.
	require.NoError(t, in.client.Del(t.Context(), "asynq:{live}:groups").Err())
	in.startWorker(t)
	in.requireStored(t, "stranded", time.Minute)
}

func TestRecovery_StoppingWorkerHandsItsTasksToTheOthers(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	first := in.startWorker(t)
	require.NoError(t, in.postgres.Kill())
	in.post(t, "handed over")
	require.Eventually(t, func() bool { return in.live(t).Active == 1 }, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, first.Signal(syscall.SIGTERM))
	start := time.Now()
	require.NoError(t, first.Wait(), "a worker that was told to stop ends with status 0")
	assert.Less(t, time.Since(start), 10*time.Second)
	info := in.live(t)
	assert.Zero(t, info.Active, "the task is still in the hands of the worker that stopped")

	require.NoError(t, in.postgres.Restart(t.Context()))
	in.startWorker(t)
	in.requireStored(t, "handed over", 20*time.Second)
}
