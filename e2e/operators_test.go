package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/tasks"
)

// installation is what the tests of the operators' endpoints look at: an API
// in this process, with a PostgreSQL and a Redis that may be stopped.
type installation struct {
	postgres *devservers.Postgres
	redis    *devservers.Redis
	client   *redis.Client
	api      string
}

func newInstallation(t *testing.T, settings ...string) *installation {
	t.Helper()
	return newInstallationOn(t, devservers.PostgresOptions{Durable: true}, settings...)
}

func newInstallationOn(t *testing.T, database devservers.PostgresOptions, settings ...string) *installation {
	t.Helper()
	in := &installation{postgres: servers.Postgres(t, database), redis: servers.Redis(t)}
	in.client = openRedis(t, in.redis)
	in.api = startServer(t, app.Roles{API: true}, append(in.environment(), settings...)...).url
	require.Eventually(t, func() bool { return in.get(t, "/readyz", nil) == http.StatusOK }, 10*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool { return in.health(t).Database.Connected }, 10*time.Second, 20*time.Millisecond)
	return in
}

func (in *installation) environment() []string {
	return []string{"DATABASE_URL=" + in.postgres.DSN(), "REDIS_URL=" + in.redis.URL()}
}

// startWorker starts a worker as a process of its own, and returns when it accepts
// tasks.
func (in *installation) startWorker(t *testing.T) child {
	t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(in.client)
	before, err := inspector.Servers()
	require.NoError(t, err)
	worker := startProcess(t, "worker", in.environment()...)
	require.Eventually(t, func() bool {
		now, err := inspector.Servers()
		return err == nil && len(now) > len(before)
	}, 30*time.Second, 20*time.Millisecond, "the worker does not start")
	return worker
}

func (in *installation) get(t *testing.T, path string, into any) (status int) {
	t.Helper()
	response, err := http.Get(in.api + path)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if into != nil {
		require.NoError(t, json.Unmarshal(text, into), "%s", text)
	}
	return response.StatusCode
}

// healthResponse and statusResponse are the shapes that operators rely on, written
// down once more, so that a change of the handlers' own shows.
type healthResponse struct {
	Status   string   `json:"status"`
	Reasons  []string `json:"reasons"`
	Notes    []string `json:"notes"`
	Database struct {
		Connected   bool    `json:"connected"`
		Latency     float64 `json:"latency_ms"`
		TimescaleDB *bool   `json:"timescaledb"`
	} `json:"database"`
	Redis struct {
		Connected bool    `json:"connected"`
		Latency   float64 `json:"latency_ms"`
	} `json:"redis"`
	Queues map[string]struct {
		Pending, Processed, Failed *int
	} `json:"queues"`
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime_seconds"`

	code int
	took time.Duration
}

func (in *installation) health(t *testing.T) healthResponse {
	t.Helper()
	var response healthResponse
	start := time.Now()
	response.code = in.get(t, "/health", &response)
	response.took = time.Since(start)
	return response
}

// requireReason waits until /health gives a reason with these words.
func (in *installation) requireReason(t *testing.T, words string) {
	t.Helper()
	var last healthResponse
	require.Eventually(t, func() bool {
		last = in.health(t)
		return last.Status == "degraded" && last.code == http.StatusOK && strings.Contains(strings.Join(last.Reasons, "\n"), words)
	}, 20*time.Second, 50*time.Millisecond, "no reason says %q", words)
}

func TestHealth_RespondsWithinASecondWhateverIsDown(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.startWorker(t)
	require.Eventually(t, func() bool {
		return !strings.Contains(strings.Join(in.health(t).Reasons, ""), "No worker")
	}, 20*time.Second, 50*time.Millisecond)

	check := func(name string, code int, database, queue bool, reason string) {
		t.Helper()
		want := map[int]string{200: "degraded", 503: "unhealthy"}[code]
		if reason == "" && !in.redis.InMemory() {
			want = "healthy"
		}
		var response healthResponse
		require.Eventually(t, func() bool { // until the status collected before has expired
			response = in.health(t)
			assert.Less(t, response.took, time.Second, name)
			return response.Database.Connected == database && response.Redis.Connected == queue && response.Status == want
		}, 20*time.Second, 20*time.Millisecond, name)
		assert.Equal(t, code, response.code, name)
		assert.Contains(t, strings.Join(response.Reasons, "\n"), reason, name)
		var ready int
		require.Eventually(t, func() bool {
			ready = in.get(t, "/readyz", nil)
			return ready == code
		}, 5*time.Second, 50*time.Millisecond, "%s: /readyz responds with %d", name, ready)
		assert.Equal(t, http.StatusOK, in.get(t, "/livez", nil), name)
	}
	check("all up", 200, true, true, "")

	if !in.redis.InMemory() {
		require.NoError(t, in.redis.Pause())
		check("Redis silent", 200, true, false, "Redis is down: points go straight to the database.")
		require.NoError(t, in.redis.Resume())
	}
	require.NoError(t, in.postgres.Pause())
	check("PostgreSQL silent", 200, false, true, "The database is down: points wait in Redis.")
	require.NoError(t, in.postgres.Resume())

	require.NoError(t, in.redis.Kill())
	check("Redis gone", 200, true, false, "Redis is down: points go straight to the database.")
	require.NoError(t, in.postgres.Kill())
	check("both gone", 503, false, false, "points are refused with 503")
	require.NoError(t, in.redis.Restart(t.Context()))
	check("PostgreSQL gone", 200, false, true, "The database is down: points wait in Redis.")
	require.NoError(t, in.postgres.Restart(t.Context()))
	check("all up again", 200, true, true, "")
}

func TestHealth_NamesEachReasonInWords(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.requireReason(t, "No worker is alive")

	old := lane.NewPoints(lane.All(lane.Options{})[0], 1)
	old.AddTrack(lane.Track{
		Fields:     []lane.Field{lane.TextField("old"), {Null: true}, {Null: true}, {Null: true}},
		ReceivedAt: time.Now().Add(-2 * time.Minute).UnixMicro(),
	})
	old.Add(0, time.Now().UnixMicro(), 1, 2)
	queue := asynq.NewClientFromRedisClient(in.client)
	_, err := queue.Enqueue(asynq.NewTask("live:batch", tasks.Encode(nil, old)), asynq.Queue("live"))
	require.NoError(t, err)
	in.requireReason(t, "A point in the queue live has waited for 2m")

	inspector := asynq.NewInspectorFromRedisClient(in.client)
	require.NoError(t, inspector.PauseQueue("live"))
	in.requireReason(t, "The queue live is paused.")
	_, err = inspector.ArchiveAllPendingTasks("live")
	require.NoError(t, err)
	in.requireReason(t, "The queue live has 1 archived tasks")

	database, err := pgx.Connect(t.Context(), in.postgres.DSN())
	require.NoError(t, err)
	defer database.Close(context.Background())
	for _, value := range []string{"off", "on"} {
		_, err = database.Exec(t.Context(), `ALTER SYSTEM SET fsync = `+value)
		require.NoError(t, err)
		_, err = database.Exec(t.Context(), `SELECT pg_reload_conf()`)
		require.NoError(t, err)
		if value == "off" {
			in.requireReason(t, "its fsync is off")
		}
	}
	_, err = database.Exec(t.Context(), `INSERT INTO rejected_points (lane, payload, error) VALUES ('live', 'x', 'test')`)
	require.NoError(t, err)
	in.requireReason(t, "The database refused points")

	if in.redis.InMemory() {
		in.requireReason(t, "Redis keeps queued points in memory only")
		return // the embedded server has no configuration
	}
	require.NoError(t, in.client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	in.requireReason(t, "its maxmemory-policy is allkeys-lru")
	require.NoError(t, in.client.ConfigSet(t.Context(), "appendonly", "no").Err())
	in.requireReason(t, "Redis keeps queued points in memory only")
}

// percentiles are in milliseconds.
type percentiles struct{ P50, P95, P99 *float64 }

// statusResponse is the response of /queue/status.
type statusResponse struct {
	Redis struct {
		Connected       bool     `json:"connected"`
		Version         *string  `json:"version"`
		UsedMemory      *int64   `json:"used_memory_bytes"`
		MaxMemory       *int64   `json:"maxmemory_bytes"`
		MaxMemoryPolicy *string  `json:"maxmemory_policy"`
		Latency         *float64 `json:"latency_ms"`
	} `json:"redis"`
	Queues map[string]struct {
		Priority, Weight, Pending, Active, Aggregating, Scheduled, Retry, Archived, Processed, Failed *int
		Paused                                                                                        *bool
		Latency                                                                                       *float64 `json:"latency_seconds"`
		Memory                                                                                        *int64   `json:"memory_bytes"`
	} `json:"queues"`
	Processors []struct {
		ID, Host, Status string
		PID              int            `json:"pid"`
		Concurrency      int            `json:"concurrency"`
		Queues           map[string]int `json:"queues"`
		StartedAt        time.Time      `json:"started_at"`
		Active           *int           `json:"active"`
	} `json:"processors"`
	Performance map[string]struct {
		PointsWritten   int          `json:"points_written"`
		Duplicates      int          `json:"duplicates"`
		Batches         int          `json:"batches"`
		PointsPerBatch  float64      `json:"points_per_batch"`
		PointsPerSecond *float64     `json:"points_per_second"`
		Write           *percentiles `json:"write_ms"`
		EndToEnd        *percentiles `json:"end_to_end_ms"`
	} `json:"performance"`
	Timestamp time.Time `json:"timestamp"`
}

func (in *installation) queueStatus(t *testing.T) (response statusResponse) {
	t.Helper()
	assert.Equal(t, http.StatusOK, in.get(t, "/queue/status", &response))
	return response
}

// uploadTwice uploads the same points twice, and returns the status once both
// are written.
func (in *installation) uploadTwice(t *testing.T, points int) statusResponse {
	t.Helper()
	var list []string
	for i := range points {
		list = append(list, fmt.Sprintf(`{"datetime":"2026-07-14T10:%02d:%02d.%03dZ","lat":46,"lon":7}`, i/60%60, i%60, i%7+i/3600*7))
	}
	body := `{"flight_id":"sum","track_points":[` + strings.Join(list, ",") + `]}`
	for range 2 { // the second time they are duplicates
		response, err := http.Post(in.api+"/upload", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusAccepted, response.StatusCode)
	}
	var got statusResponse
	require.Eventually(t, func() bool {
		got = in.queueStatus(t)
		p := got.Performance["upload"]
		return p.PointsWritten+p.Duplicates == 2*points
	}, 20*time.Second, 50*time.Millisecond)
	return got
}

func TestQueueStatus_AddsUpEveryProcess(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	first, second := in.startWorker(t), in.startWorker(t)
	require.Eventually(t, func() bool { return len(in.queueStatus(t).Processors) == 2 }, 20*time.Second, 50*time.Millisecond)
	const points = 5000
	got := in.uploadTwice(t, points)

	assert.True(t, got.Redis.Connected)
	assert.NotNil(t, got.Redis.Version)
	assert.NotNil(t, got.Redis.UsedMemory)
	assert.NotNil(t, got.Redis.MaxMemory)
	assert.NotNil(t, got.Redis.MaxMemoryPolicy)
	assert.NotNil(t, got.Redis.Latency)
	assert.WithinDuration(t, time.Now(), got.Timestamp, 5*time.Second)
	upload := got.Performance["upload"]
	assert.Equal(t, points, upload.PointsWritten)
	assert.Equal(t, points, upload.Duplicates)
	assert.Equal(t, 10, upload.Batches)
	assert.InDelta(t, 1000, upload.PointsPerBatch, 0)
	assert.Positive(t, *upload.Write.P50)
	assert.GreaterOrEqual(t, *upload.EndToEnd.P99, *upload.EndToEnd.P50)
	for _, l := range lane.All(lane.Options{}) {
		q, known := got.Queues[l.Name]
		require.True(t, known, l.Name)
		assert.Equal(t, l.Priority, *q.Priority)
		assert.Equal(t, l.Weight, *q.Weight)
		for _, field := range []*int{q.Pending, q.Active, q.Aggregating, q.Scheduled, q.Retry, q.Archived, q.Processed, q.Failed} {
			assert.NotNil(t, field)
		}
		assert.NotNil(t, q.Paused)
		assert.NotNil(t, q.Latency)
		assert.NotNil(t, q.Memory)
		assert.NotNil(t, got.Performance[l.Name].PointsPerSecond)
	}
	assert.Equal(t, 10, *got.Queues["upload"].Processed)
	pids := map[int]bool{}
	for _, p := range got.Processors {
		pids[p.PID] = true
		assert.Equal(t, 4, p.Concurrency)
		assert.Equal(t, map[string]int{"live": 6, "upload": 3, "scoring": 3, "flymaster": 1}, p.Queues)
		assert.Equal(t, "active", p.Status)
		assert.NotEmpty(t, p.ID)
		assert.NotEmpty(t, p.Host)
		assert.NotNil(t, p.Active)
		assert.WithinDuration(t, time.Now(), p.StartedAt, time.Minute)
	}
	assert.Equal(t, map[int]bool{first.PID(): true, second.PID(): true}, pids)
}

func TestQueueStatus_ForgetsAKilledWorkerAndSaysThatRedisIsDown(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	first, second := in.startWorker(t), in.startWorker(t)
	require.Eventually(t, func() bool { return len(in.queueStatus(t).Processors) == 2 }, 20*time.Second, 50*time.Millisecond)

	require.NoError(t, first.Kill())
	require.Eventually(t, func() bool {
		left := in.queueStatus(t).Processors
		return len(left) == 1 && left[0].PID == second.PID()
	}, 30*time.Second, 100*time.Millisecond, "a worker that was killed still counts")

	require.NoError(t, in.redis.Kill())
	require.Eventually(t, func() bool {
		var response statusResponse
		code := in.get(t, "/queue/status", &response)
		return code == http.StatusServiceUnavailable && !response.Redis.Connected && len(response.Queues) == 4
	}, 5*time.Second, 50*time.Millisecond)
}
