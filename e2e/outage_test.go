package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// postEverywhere posts three points to each lane, which no other call with
// another n does, and returns the responses. It asks for JSON.
func postEverywhere(t *testing.T, s *server, n int) []response {
	t.Helper()
	id := fmt.Sprint("flight ", n)
	var tracks, lines []string
	for i := range 3 {
		at := time.Date(2026, 7, 14, 10, 0, 3*n+i, 0, time.UTC)
		tracks = append(tracks, `{"date_time":"`+at.Format(time.RFC3339)+`","lat":1,"lon":2,"gps_alt":3}`)
		lines = append(lines, fmt.Sprintf("%d,%d,46.5,7.25,1,2,3", at.Unix(), at.Unix()))
	}
	return []response{
		postJSON(t, s.url+"/live", flight(id, 3)),
		postJSON(t, s.url+"/upload", flight(id, 3)),
		postJSON(t, s.url+"/scoring", `{"tracks":[`+strings.Join(tracks, ",")+`]}`),
		post(t, s.url+"/flymaster", "text/plain", flymasterFile(lines...), "Accept", "application/json"),
	}
}

// requireStoredEverywhere waits until each lane's table has exactly as many
// rows.
func requireStoredEverywhere(t *testing.T, pool *pgxpool.Pool, rows int) {
	t.Helper()
	for _, l := range lane.All(lane.Options{}) {
		requireRows(t, pool, rows, `SELECT count(*) FROM `+l.Table)
	}
}

// outage is a way for Redis to be down and to get well again.
type outage struct {
	real  bool // the embedded server cannot have it
	begin func(context.Context, *devservers.Redis, *redis.Client) error
	mend  func(context.Context, *devservers.Redis, *redis.Client) error
}

func outages() map[string]outage {
	set := func(name, value string) func(context.Context, *devservers.Redis, *redis.Client) error {
		return func(ctx context.Context, _ *devservers.Redis, client *redis.Client) error {
			return client.ConfigSet(ctx, name, value).Err()
		}
	}
	follow := func(host, port string) func(context.Context, *devservers.Redis, *redis.Client) error {
		return func(ctx context.Context, _ *devservers.Redis, client *redis.Client) error {
			return client.ReplicaOf(ctx, host, port).Err()
		}
	}
	return map[string]outage{
		"killed": {
			begin: func(_ context.Context, r *devservers.Redis, _ *redis.Client) error { return r.Kill() },
			mend:  func(ctx context.Context, r *devservers.Redis, _ *redis.Client) error { return r.Restart(ctx) },
		},
		"stopped in its tracks": {
			real:  true,
			begin: func(_ context.Context, r *devservers.Redis, _ *redis.Client) error { return r.Pause() },
			mend:  func(_ context.Context, r *devservers.Redis, _ *redis.Client) error { return r.Resume() },
		},
		"out of memory":         {real: true, begin: set("maxmemory", "1mb"), mend: set("maxmemory", "0")},
		"a replica":             {real: true, begin: follow("127.0.0.1", "1"), mend: follow("NO", "ONE")},
		"without enough copies": {real: true, begin: set("min-replicas-to-write", "1"), mend: set("min-replicas-to-write", "0")},
	}
}

func TestOutage_PointsBypassRedisWhileItIsDown(t *testing.T) {
	t.Parallel()
	for name, o := range outages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database, server := servers.Database(t), servers.Redis(t)
			if o.real && server.InMemory() {
				return
			}
			client := openRedis(t, server)
			s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+server.URL())
			pool := openDatabase(t, database)
			requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)

			for _, a := range postEverywhere(t, s, 0) {
				require.Equal(t, 202, a.code, a.text)
			}
			require.NoError(t, o.begin(t.Context(), server, client))
			start := time.Now()
			for i := range 5 {
				for _, a := range postEverywhere(t, s, 1+i) {
					require.Equal(t, 201, a.code, a.text)
					assert.Equal(t, "stored", a.Status)
					assert.Equal(t, 3, *a.Inserted)
					assert.Zero(t, *a.Duplicates)
					assert.Less(t, a.took, time.Second)
				}
			}
			// 20 requests: one or two found out, the others did not wait.
			assert.Less(t, time.Since(start), 2500*time.Millisecond)
			large := postJSON(t, s.url+"/live", flight("large", 1500))
			require.Equal(t, 201, large.code, large.text)
			assert.Less(t, large.took, time.Second)

			require.NoError(t, o.mend(t.Context(), server, client))
			n := 6
			require.Eventually(t, func() bool {
				took := 0
				for _, a := range postEverywhere(t, s, n) {
					if a.code == 202 {
						took++
					}
				}
				n++
				return took == 4
			}, 5*time.Second, 50*time.Millisecond, "Redis is not used again")
			requireRows(t, pool, 1500, `SELECT count(*) FROM live_track_points WHERE flight_id = 'large'`)
			_, err := pool.Exec(t.Context(), `DELETE FROM live_track_points WHERE flight_id = 'large'`)
			require.NoError(t, err)
			requireStoredEverywhere(t, pool, 3*n)
		})
	}
}

func TestOutage_NothingIsClaimedWhileBothAreDown(t *testing.T) {
	t.Parallel()
	postgres, redis := servers.Postgres(t, devservers.PostgresOptions{}), servers.Redis(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+postgres.DSN(), "REDIS_URL="+redis.URL())
	pool := openDatabase(t, postgres.DSN())
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	for _, a := range postEverywhere(t, s, 0) {
		require.Equal(t, 202, a.code, a.text)
	}
	requireStoredEverywhere(t, pool, 3)

	require.NoError(t, postgres.Kill())
	for _, a := range postEverywhere(t, s, 1) {
		require.Equal(t, 202, a.code, "the queue takes them: %s", a.text)
	}
	require.NoError(t, redis.Kill())
	for _, a := range postEverywhere(t, s, 2) {
		require.Equal(t, 503, a.code, a.text)
		assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
		assert.NotEmpty(t, a.header.Get("Retry-After"))
		assert.Less(t, a.took, 3*time.Second)
	}
	plain := post(t, s.url+"/flymaster", "", flymasterFile(flymasterLine))
	assert.Equal(t, 503, plain.code)
	assert.Equal(t, "NOK", plain.text)
	assert.NotEmpty(t, plain.header.Get("Retry-After"))

	require.NoError(t, postgres.Restart(t.Context()))
	n := 2
	require.Eventually(t, func() bool {
		stored := 0
		for _, a := range postEverywhere(t, s, 2) {
			if a.code == 201 {
				stored++
			}
		}
		return stored == 4
	}, 10*time.Second, 50*time.Millisecond, "what was refused is taken when it is sent again")
	if redis.InMemory() {
		return
	}
	require.NoError(t, redis.Restart(t.Context()))
	require.Eventually(t, func() bool {
		n++
		return postEverywhere(t, s, n)[0].code == 202
	}, 5*time.Second, 50*time.Millisecond)
	for _, l := range []string{"live_track_points", "uploaded_track_points", "flymaster"} {
		requireRows(t, pool, 3*(n+1), `SELECT count(*) FROM `+l)
	}
}
