package handlers

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/asynqmon"
	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/migrations"
	"tracklane/store"
	"tracklane/tasks"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	logging.Disable() // a Redis that is away is what most of the tests have
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

// newTestServer serves the lanes with a database of the test's own. Redis is
// away, so that what was taken is in the database once it is answered.
func newTestServer(t *testing.T, lanes []*lane.Lane) (s *Server, url string, pool *pgxpool.Pool) {
	t.Helper()
	database := servers.Database(t)
	logger := slog.New(slog.DiscardHandler)
	require.NoError(t, migrations.Up(t.Context(), database, nil, logger))
	config, err := pgxpool.ParseConfig(database)
	require.NoError(t, err)
	pool, err = store.Open(config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	connections := tasks.Connect(redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}}, 6)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	recorder := metrics.New(lanes, "test")
	s = New(Parts{
		Lanes: lanes, Recorder: recorder, Logger: logger, Version: "test",
		Writer: store.NewWriter(pool, lanes, 1000, nil), Database: store.NewDatabase(pool, lanes),
		Inspector: tasks.NewInspector(connections, lanes),
		Asynqmon:  asynqmon.New(connections.Inspect, lanes, asynqmon.Options{}),
		Enqueuer: tasks.NewEnqueuer(connections, lanes, tasks.EnqueuerOptions{
			Batching: tasks.Batching{MinPoints: 500, MaxPoints: 1000}, Timeout: 250 * time.Millisecond, MaxWaitingPoints: 1000,
		}, logger),
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL, pool
}

type answer struct {
	code   int
	header http.Header
	text   string
}

func send(t *testing.T, method, url string, body io.Reader, header ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(text)}
}

// padded is a request of one point that takes about size bytes.
func padded(flight string, size int) string {
	return `{"padding":"` + strings.Repeat("x", size) + `","flight_id":"` + flight +
		`","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2}]}`
}
