package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/migrations"
	"tracklane/store"
)

// servers is set by TestMain and never again.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

// start serves every path with handle until the test ends.
func start(t *testing.T, handle http.HandlerFunc) (url string) {
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL
}

// respondsWith always gives the same status.
func respondsWith(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
	}
}

func TestRun_CountsResponsesByStatus(t *testing.T) {
	var number atomic.Int64
	url := start(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/live", r.URL.Path)
		assert.Equal(t, http.MethodPost, r.Method)
		switch n := number.Add(1); {
		case n%10 == 0:
			respondsWith(http.StatusServiceUnavailable)(w, r)
		case n%10 == 1:
			respondsWith(http.StatusCreated)(w, r)
		case n%100 == 2:
			panic(http.ErrAbortHandler) // closes the connection without a response
		default:
			respondsWith(http.StatusAccepted)(w, r)
		}
	})
	var out bytes.Buffer
	report, err := Run(t.Context(), Options{URL: url, Lane: "live", PointsPerRequest: 3, Requests: 200, Connections: 4}, &out)
	require.NoError(t, err)
	require.EqualValues(t, 200, report.Requests)
	require.EqualValues(t, 600, report.Points)
	require.EqualValues(t, 3*(20+158), report.AcknowledgedPoints)
	require.Equal(t, map[int]int64{http.StatusAccepted: 158, http.StatusCreated: 20, http.StatusServiceUnavailable: 20, transportError: 2}, report.Responses)
	require.Positive(t, report.Latency.P50)
	require.LessOrEqual(t, report.Latency.P50, report.Latency.P99)
	require.LessOrEqual(t, report.Latency.P99, report.Latency.Max)
	require.Contains(t, out.String(), "202 Accepted")
	require.Contains(t, out.String(), "error, no response")
}

func TestRun_AvoidsCoordinatedOmissionWithARate(t *testing.T) {
	const stall = 300 * time.Millisecond
	var once sync.Once
	url := start(t, func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			select { // a stall is time passing, nothing to wait for
			case <-time.After(stall):
			case <-r.Context().Done():
			}
		})
		respondsWith(http.StatusAccepted)(w, r)
	})
	report, err := Run(t.Context(), Options{URL: url, Lane: "live", PointsPerRequest: 1, Requests: 100, Connections: 1, Rate: 200}, io.Discard)
	require.NoError(t, err)
	require.GreaterOrEqual(t, report.Duration, 490*time.Millisecond)
	// The stall lasted for 60 requests' due times: half of all were late.
	require.Greater(t, report.Latency.P50, 20*time.Millisecond)
}

func TestRun_EndsAfterItsDuration(t *testing.T) {
	url := start(t, respondsWith(http.StatusAccepted))
	for _, rate := range []float64{0, 100} {
		t.Run(fmt.Sprintf("rate %v", rate), func(t *testing.T) {
			report, err := Run(t.Context(), Options{URL: url, Lane: "upload", PointsPerRequest: 5, Duration: 500 * time.Millisecond, Connections: 2, Rate: rate}, io.Discard)
			require.NoError(t, err)
			require.InDelta(t, 0.5, report.Duration.Seconds(), 0.3)
			if rate > 0 {
				require.LessOrEqual(t, report.Requests, int64(50)) // one each 10 ms of 500 ms
			}
		})
	}
}

func TestRun_FailsWhenNothingWasAcknowledged(t *testing.T) {
	url := start(t, respondsWith(http.StatusBadRequest))
	report, err := Run(t.Context(), Options{URL: url, Lane: "live", PointsPerRequest: 1, Requests: 5, Connections: 1}, io.Discard)
	require.ErrorIs(t, err, ErrNothingAcknowledged)
	require.EqualValues(t, 5, report.Requests)
}

func TestRun_NamesWrongOptions(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	good := Options{URL: closed.URL, Lane: "live", PointsPerRequest: 1, Requests: 1, Connections: 1}
	cases := []struct {
		name   string
		change func(*Options)
		says   string
	}{
		{"no such lane", func(o *Options) { o.Lane = "fast" }, `"fast" is none of live, upload, scoring, flymaster`},
		{"no points", func(o *Options) { o.PointsPerRequest = 0 }, "points per request: 0"},
		{"no connections", func(o *Options) { o.Connections = 0 }, "connections: 0"},
		{"no end", func(o *Options) { o.Requests = 0 }, "number of requests or a duration"},
		{"a negative rate", func(o *Options) { o.Rate = -1 }, "rate: -1"},
		{"no scheme", func(o *Options) { o.URL = "localhost:8080" }, "http://localhost:8080"},
		{"verifying without a database", func(o *Options) { o.Verify = true }, "set DATABASE_URL"},
		{"no server", func(*Options) {}, "cannot reach"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			options := good
			c.change(&options)
			_, err := Run(t.Context(), options, io.Discard)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// storing is a server that writes what it is posted to a real database, as
// far as its fields let it.
type storing struct {
	url         string
	databaseURL string
	pool        *pgxpool.Pool
	requests    atomic.Int64

	// fate decides what becomes of a request; nil keeps and acknowledges it.
	fate func(number int64) (keep bool, status int)
	// delayed holds the writing up until it is closed; nil does not.
	delayed chan struct{}
	writing sync.WaitGroup
}

func newStoring(t *testing.T) *storing {
	s := &storing{databaseURL: servers.Database(t)}
	require.NoError(t, migrations.Up(t.Context(), s.databaseURL, nil, slog.New(slog.DiscardHandler)))
	config, err := pgxpool.ParseConfig(s.databaseURL)
	require.NoError(t, err)
	s.pool, err = store.Open(config)
	require.NoError(t, err)
	t.Cleanup(s.pool.Close)
	lanes := lane.All(lane.Options{FlymasterSecret: secret})
	writer := store.NewWriter(s.pool, lanes, 1000, nil)
	mux := http.NewServeMux()
	for _, l := range lanes {
		mux.HandleFunc("POST /"+l.Name, func(w http.ResponseWriter, r *http.Request) { s.store(w, r, l, writer) })
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *storing) store(w http.ResponseWriter, r *http.Request, l *lane.Lane, writer *store.Writer) {
	body, _ := io.ReadAll(r.Body)
	keep, status := true, http.StatusAccepted
	if s.fate != nil {
		keep, status = s.fate(s.requests.Add(1))
	}
	decoded, err := l.Decode(body, lane.DecodeOptions{Now: time.Now()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	write := func(ctx context.Context) {
		if _, err := writer.Write(ctx, decoded.Points, ""); err != nil {
			status = http.StatusInternalServerError
		}
	}
	switch {
	case !keep:
	case s.delayed != nil:
		s.writing.Go(func() {
			<-s.delayed
			write(context.WithoutCancel(r.Context()))
		})
	default:
		write(r.Context())
	}
	w.WriteHeader(status)
}

// options are for a verified run of 40 requests with 30 points each.
func (s *storing) options(laneName string) Options {
	return Options{
		URL: s.url, Lane: laneName, PointsPerRequest: 30, Requests: 40, Connections: 4,
		FlymasterSecret: secret, Verify: true, DatabaseURL: s.databaseURL, VerifyTimeout: time.Second,
	}
}

func TestRun_VerifiesEveryLane(t *testing.T) {
	s := newStoring(t)
	for _, l := range lane.All(lane.Options{FlymasterSecret: secret}) {
		t.Run(l.Name, func(t *testing.T) {
			var out bytes.Buffer
			report, err := Run(t.Context(), s.options(l.Name), &out)
			require.NoError(t, err)
			require.EqualValues(t, 1200, report.AcknowledgedPoints)
			require.EqualValues(t, 1200, report.Verification.Stored)
			require.True(t, report.Verification.OK())
			require.Contains(t, out.String(), "missing")
			var rows int
			require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+pgx.Identifier{l.Table}.Sanitize()).Scan(&rows))
			require.Equal(t, 1200, rows)
		})
	}
}

func TestRun_VerifyFindsLostPoints(t *testing.T) {
	s := newStoring(t)
	s.fate = func(number int64) (bool, int) { return number%10 != 0, http.StatusAccepted }
	report, err := Run(t.Context(), s.options("live"), io.Discard)
	require.ErrorIs(t, err, ErrPointsWrong)
	require.EqualValues(t, 4*30, report.Verification.Missing)
	require.EqualValues(t, 36*30, report.Verification.Stored)
	require.GreaterOrEqual(t, report.Verification.Took, time.Second)
}

func TestRun_VerifyDoesNotTakeUnacknowledgedPointsForLostOnes(t *testing.T) {
	s := newStoring(t)
	s.fate = func(number int64) (bool, int) {
		switch number % 10 {
		case 0:
			return false, http.StatusAccepted
		case 1:
			return true, http.StatusServiceUnavailable
		}
		return true, http.StatusAccepted
	}
	options := s.options("upload")
	report, err := Run(t.Context(), options, io.Discard)
	require.ErrorIs(t, err, ErrPointsWrong)
	require.EqualValues(t, 120, report.Verification.Missing)
	require.EqualValues(t, 120, report.Verification.Unacknowledged)
	require.Zero(t, report.Verification.Unexpected)
}

func TestRun_VerifyFindsDuplicatesAndUnexpectedRows(t *testing.T) {
	cases := []struct {
		name, statement   string
		twice, unexpected int64
	}{
		{"twice", "INSERT INTO live_track_points SELECT * FROM live_track_points LIMIT 7", 7, 0},
		{"never sent", "INSERT INTO live_track_points (flight_id, datetime, lat, lon, received_at) " +
			"SELECT flight_id, datetime, lat + 1, lon, received_at FROM live_track_points LIMIT 5", 0, 5},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newStoring(t)
			_, err := s.pool.Exec(t.Context(), "ALTER TABLE live_track_points DROP CONSTRAINT live_track_points_pkey")
			require.NoError(t, err)
			s.fate = func(number int64) (bool, int) {
				if number == 40 {
					_, err = s.pool.Exec(t.Context(), c.statement)
				}
				return true, http.StatusAccepted
			}
			options := s.options("live")
			options.Connections = 1
			report, runErr := Run(t.Context(), options, io.Discard)
			require.NoError(t, err)
			require.ErrorIs(t, runErr, ErrPointsWrong)
			require.Zero(t, report.Verification.Missing)
			require.Equal(t, c.twice, report.Verification.Duplicates)
			require.Equal(t, c.unexpected, report.Verification.Unexpected)
		})
	}
}

// notifying calls found when text is written to it.
type notifying struct {
	text  string
	found func()
}

func (n notifying) Write(written []byte) (int, error) {
	if strings.Contains(string(written), n.text) {
		n.found()
	}
	return len(written), nil
}

func TestRun_VerifyWaitsForPointsThatAreStoredLater(t *testing.T) {
	s := newStoring(t)
	s.delayed = make(chan struct{})
	t.Cleanup(s.writing.Wait)
	options := s.options("scoring")
	options.VerifyTimeout = 30 * time.Second
	out := notifying{"verifying", func() { close(s.delayed) }}
	report, err := Run(t.Context(), options, out)
	require.NoError(t, err)
	require.EqualValues(t, 1200, report.Verification.Stored)
	require.Less(t, report.Verification.Took, 20*time.Second)
}

func TestRun_VerifiesWhatWasAcknowledgedBeforeItWasCancelled(t *testing.T) {
	s := newStoring(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.fate = func(number int64) (bool, int) {
		if number == 100 {
			cancel()
		}
		return true, http.StatusAccepted
	}
	options := s.options("live")
	options.Requests, options.Duration = 0, time.Hour
	report, err := Run(ctx, options, io.Discard)
	require.NoError(t, err)
	require.GreaterOrEqual(t, report.Requests, int64(100))
	require.Less(t, report.Duration, time.Minute)
	require.Equal(t, report.AcknowledgedPoints, report.Verification.Stored)
}

func TestRun_ReportsAnUnreadableDatabaseBeforeItSends(t *testing.T) {
	var requests atomic.Int64
	url := start(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		respondsWith(http.StatusAccepted)(w, r)
	})
	options := Options{URL: url, Lane: "live", PointsPerRequest: 1, Requests: 1, Connections: 1, Verify: true, DatabaseURL: servers.Database(t)}
	_, err := Run(t.Context(), options, io.Discard)
	require.ErrorContains(t, err, "live_track_points")
	require.Zero(t, requests.Load())
}
