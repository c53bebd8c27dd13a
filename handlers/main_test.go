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
	"tracklane/internal/apidoc/apidoctest"
	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/internal/livestream"
	"tracklane/internal/mappage"
	"tracklane/internal/metrics"
	"tracklane/internal/status"
	"tracklane/internal/storetest"
	"tracklane/store"
	"tracklane/tasks"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	logging.Disable() // most of the tests have a Redis that is down
	os.Exit(apidoctest.Run(func() int {
		return devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s })
	}))
}

// newTestServer serves the lanes with a database of the test's own. Redis is
// down, so that points are in the database once their request is accepted.
func newTestServer(t *testing.T, lanes []*lane.Lane) (s *Server, url string, pool *pgxpool.Pool) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	pool = storetest.OpenMigrated(t, servers.Database(t))
	writer := store.NewWriter(pool, lanes, 1000, nil)
	connections := tasks.Connect(redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}}, 6)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	recorder := metrics.New(lanes, "test")
	batching := tasks.Batching{MinPoints: 500, MaxPoints: 1000}
	enqueuer := tasks.NewEnqueuer(connections, lanes, tasks.NewMonitor(connections, lanes, slog.New(slog.DiscardHandler)), writer, tasks.EnqueuerOptions{
		Batching: batching, Timeout: 250 * time.Millisecond, MaxWaitingPoints: 1000,
	}, logger)
	reader := store.NewReader(pool, lanes)
	hub := livestream.NewHub(reader, connections.Inspect, "test", lanes[0], recorder, logger)
	go hub.Run(t.Context())
	s = New(Config{
		Status: status.NewCollector(status.Config{
			Lanes: lanes, Database: store.NewDatabase(pool, lanes), Inspector: tasks.NewInspector(connections, lanes),
			Recorder: recorder, BypassesRedis: func() bool { return !enqueuer.Available() },
			AdmitsLive: func() bool { return enqueuer.Admits(lanes[0]) }, Version: "test", Logger: logger,
		}),
		Recorder: recorder, Logger: logger,
		Asynqmon: asynqmon.New(connections.Inspect, lanes, asynqmon.Options{}),
		Flights:  reader, Live: hub, Map: mappage.New(""),
		Ingest: &Ingest{Lanes: lanes, Enqueuer: enqueuer, Bypass: tasks.NewBypass(lanes, writer, batching)},
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL, pool
}

type response struct {
	code   int
	header http.Header
	text   string
}

func send(t *testing.T, method, url string, body io.Reader, header ...string) response {
	t.Helper()
	request, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	got, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	return response{got.StatusCode, got.Header, string(text)}
}

// padded is a request of one point that takes about size bytes.
func padded(flight string, size int) string {
	return `{"padding":"` + strings.Repeat("x", size) + `","flight_id":"` + flight +
		`","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2}]}`
}
