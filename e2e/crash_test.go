package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/process"

	"tracklane/internal/devservers"
)

// acknowledged is how many points of each flight a server took.
type acknowledged struct {
	mu      sync.Mutex
	flights map[string]int
}

// send posts flights of various sizes to a lane until the server is gone.
func (a *acknowledged) send(ctx context.Context, url, client string) {
	for n := 0; ctx.Err() == nil; n++ {
		id, points := fmt.Sprint(client, "-", n), []int{1, 30, 300, 1200}[n%4]
		response, err := http.Post(url, "application/json", strings.NewReader(flight(id, points)))
		if err != nil {
			return
		}
		_ = response.Body.Close()
		if response.StatusCode == 202 || response.StatusCode == 201 {
			a.mu.Lock()
			a.flights[id] = points
			a.mu.Unlock()
		}
	}
}

func (a *acknowledged) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.flights)
}

func TestProgram_KilledUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	database, server := servers.Database(t), servers.Redis(t)
	environment := []string{"DATABASE_URL=" + database, "REDIS_URL=" + server.URL()}
	serve := startProcess(t, "serve", environment...)
	pool := openDatabase(t, database)
	taken := &acknowledged{flights: map[string]int{}}
	var clients sync.WaitGroup
	for client := range 6 {
		clients.Go(func() { taken.send(t.Context(), serve.url+"/live", fmt.Sprint("c", client)) })
	}
	require.Eventually(t, func() bool {
		var rows int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows)
		return err == nil && rows > 20_000
	}, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, serve.Kill())
	clients.Wait()
	require.Greater(t, taken.count(), 50)

	// What would take two minutes: the leases of what the process had in hand
	// run out.
	client := openRedis(t, server)
	for _, leases := range []string{"asynq:{live}:lease", "asynq:{live}:aggregation_sets"} {
		held, err := client.ZRange(t.Context(), leases, 0, -1).Result()
		require.NoError(t, err)
		for _, id := range held {
			past := float64(time.Now().Add(-5 * time.Minute).Unix())
			require.NoError(t, client.ZAdd(t.Context(), leases, redis.Z{Score: past, Member: id}).Err())
		}
	}

	api := startProcess(t, "api", environment...)
	startProcess(t, "worker", environment...)
	require.Equal(t, 202, postJSON(t, api.url+"/live", flight("after", 10)).code)
	taken.flights["after"] = 10
	var missing []string
	require.Eventually(t, func() bool {
		rows, err := pool.Query(t.Context(), `SELECT flight_id, count(*) FROM live_track_points GROUP BY flight_id`)
		if err != nil {
			return false
		}
		stored := map[string]int{}
		var id string
		var points int
		_, err = pgx.ForEachRow(rows, []any{&id, &points}, func() error {
			stored[id] = points
			return nil
		})
		missing = nil
		for id, points := range taken.flights {
			if stored[id] != points {
				missing = append(missing, fmt.Sprintf("%s: %d of %d", id, stored[id], points))
			}
		}
		return err == nil && len(missing) == 0
	}, 60*time.Second, 100*time.Millisecond, "acknowledged points are missing: %v", &missing)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}

// A Redis that syncs its file once a second has acknowledged points that its
// death may take away, so a process that stops before it is back stores them.
func TestProgram_StoresWhatADeadRedisMayHaveForgottenBeforeItStops(t *testing.T) {
	t.Parallel()
	database, server := servers.Database(t), servers.Redis(t)
	if server.InMemory() {
		return
	}
	require.NoError(t, openRedis(t, server).ConfigSet(t.Context(), "appendfsync", "everysec").Err())
	environment := []string{"DATABASE_URL=" + database, "REDIS_URL=" + server.URL()}
	api := startProcess(t, "api", environment...)
	pool := openDatabase(t, database)
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	const flights, points = 30, 1000
	for n := range flights {
		require.Equal(t, 202, postJSON(t, api.url+"/live", flight(fmt.Sprint("held-", n), points)).code)
	}
	require.NoError(t, server.Kill())
	require.NoError(t, api.Stop(t.Context(), syscall.SIGTERM))
	var stored int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&stored))
	assert.Equal(t, flights*points, stored)
}

func TestProgram_SecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	postgres, server := servers.Postgres(t, devservers.PostgresOptions{}), servers.Redis(t)
	serve := startProcess(t, "serve", "DATABASE_URL="+postgres.DSN(), "REDIS_URL="+server.URL())
	pool := openDatabase(t, postgres.DSN())
	require.Less(t, postJSON(t, serve.url+"/live", flight("written", 1)).code, 300)
	requireRows(t, pool, 1, `SELECT count(*) FROM live_track_points`) // so the worker is at work
	require.NoError(t, postgres.Pause())                              // the batch in hand now takes its time
	t.Cleanup(func() { assert.NoError(t, postgres.Resume()) })
	require.Equal(t, 202, postJSON(t, serve.url+"/live", flight("in hand", 600)).code)
	client := openRedis(t, server)
	require.Eventually(t, func() bool {
		return client.LLen(t.Context(), "asynq:{live}:active").Val() > 0
	}, 10*time.Second, 10*time.Millisecond)
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	require.NoError(t, serve.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { return process.RespondsWith(serve.url+"/livez", http.StatusOK)(t.Context()) != nil }, 5*time.Second, 10*time.Millisecond)
	<-time.After(100 * time.Millisecond) // the first may still be on its way through the process
	require.NoError(t, serve.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		require.Error(t, err, "it was not an orderly stop")
	case <-time.After(3 * time.Second):
		t.Fatal("the process did not end")
	}
}
