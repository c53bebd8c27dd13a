package dev

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/browsertest"
	"tracklane/migrations"
)

func TestMain(m *testing.M) {
	app.SilenceLibraries()
	os.Exit(m.Run())
}

// session is a Run that works.
type session struct {
	page, health, database string // URLs; page is the map
	stop                   func()
}

// start runs everything in dir, and returns when the banner is written.
func start(t *testing.T, dir string, options Options) session {
	t.Helper()
	options.Dir = dir
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, options, "test", write)
		_ = write.Close()
	}()
	s := session{stop: func() {
		stop()
		assert.NoError(t, <-ended)
	}}
	address := regexp.MustCompile(`^  (Map|Health|PostgreSQL) +(\S+)$`)
	for lines := bufio.NewScanner(read); s.database == ""; {
		if !lines.Scan() {
			require.NoError(t, <-ended, "it ended before its banner was written")
		}
		switch found := address.FindStringSubmatch(lines.Text()); {
		case found == nil:
		case found[1] == "Map":
			s.page = found[2]
		case found[1] == "Health":
			s.health = found[2]
		default:
			s.database = found[2]
		}
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	return s
}

// points is how many points of the live lane are stored.
func (s session) points(t *testing.T) (count int) {
	connection, err := pgx.Connect(t.Context(), s.database)
	require.NoError(t, err)
	defer connection.Close(context.Background())
	if connection.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&count) != nil {
		return -1 // there is no such table yet
	}
	return count
}

func TestRun_FliesPilotsAndKeepsItsDataUntilAFreshStart(t *testing.T) {
	t.Setenv("HTTP_ADDR", "127.0.0.1:0")
	t.Setenv("LOG_LEVEL", "error")
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "REDIS_HOST"} {
		t.Setenv(name, "") // restored later
		require.NoError(t, os.Unsetenv(name))
	}
	parent, err := os.MkdirTemp("", "tracklane-dev") // short: PostgreSQL has a socket in it
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(parent)) })
	require.NoError(t, os.Chmod(parent, 0o755)) // PostgreSQL may run as another user
	dir := filepath.Join(parent, "data")

	s := start(t, dir, Options{Pilots: 3})
	require.Eventually(t, func() bool { return s.points(t) >= 3 }, 30*time.Second, 100*time.Millisecond)
	requireHealthy(t, s.health)
	requireTimescaleDB(t, s.database)
	s.requireOnMap(t)
	s.stop()

	s = start(t, dir, Options{})
	stored := s.points(t)
	assert.GreaterOrEqual(t, stored, 3, "the data is kept")
	s.stop()

	s = start(t, dir, Options{Fresh: true})
	require.Eventually(t, func() bool { return s.points(t) == 0 }, 30*time.Second, 100*time.Millisecond)
	s.stop()
}

// requireOnMap opens the map, and requires that the pilots are on it within 5 s and
// move, and that what it shows is what is stored.
func (s session) requireOnMap(t *testing.T) {
	t.Helper()
	tab := browsertest.Open(t, time.Minute)
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(s.page)))
	const shown = `[...document.querySelectorAll("#pilots tr")].map(({ dataset, cells }) => [dataset.flight, dataset.lastFix, ...dataset.place.split(","), cells[2].textContent].join(" "))`
	var first, later []string
	look := func(into *[]string) bool {
		rows, err := chromedp.Run(tab, chromedp.Evaluate[[]string](shown))
		*into = rows
		return err == nil && len(rows) > 0
	}
	require.Eventually(t, func() bool { return look(&first) }, 5*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return look(&later) && later[0] != first[0] }, 20*time.Second, 100*time.Millisecond, "nobody moves")

	connection, err := pgx.Connect(t.Context(), s.database)
	require.NoError(t, err)
	defer connection.Close(context.Background())
	for _, row := range append(first, later...) {
		fields := strings.Fields(row)
		require.Len(t, fields, 5, row)
		var altitude float64
		require.NoError(t, connection.QueryRow(t.Context(), `SELECT coalesce(elevation, barometric_altitude) FROM live_track_points
			WHERE flight_id = $1 AND (extract(epoch FROM datetime) * 1000)::bigint = $2::text::numeric::bigint
				AND lat = $3::text::float8 AND lon = $4::text::float8`, fields[0], fields[1], fields[2], fields[3]).Scan(&altitude), row)
		assert.Equal(t, strconv.FormatFloat(math.Floor(altitude+.5), 'f', 0, 64), fields[4], row)
	}
}

// requireTimescaleDB requires that the extension is used where it is installed.
func requireTimescaleDB(t *testing.T, database string) {
	t.Helper()
	status, err := migrations.ReadStatus(t.Context(), database)
	require.NoError(t, err)
	assert.Equal(t, status.TimescaleDB.Available, status.TimescaleDB.Installed)
	if status.TimescaleDB.Available != "" {
		assert.Len(t, status.Hypertables, 4)
	}
}

func requireHealthy(t *testing.T, url string) {
	t.Helper()
	var health struct {
		Status  string
		Reasons []string
	}
	require.Eventually(t, func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return json.NewDecoder(response.Body).Decode(&health) == nil && health.Status == "healthy"
	}, 10*time.Second, 100*time.Millisecond, "%+v", &health)
}

func TestRun_SaysWhatIsWrongWithTheConfiguration(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://127.0.0.1:1/none")
	t.Setenv("REDIS_URL", "redis://127.0.0.1:1")
	t.Setenv("HTTP_ADDR", "nowhere")
	assert.ErrorContains(t, Run(t.Context(), Options{Dir: t.TempDir()}, "test", io.Discard), "HTTP_ADDR")
}
