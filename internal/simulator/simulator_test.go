package simulator

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

const (
	secret   = "open sesame"
	patience = 20 * time.Second
)

// server decodes what it is posted just as tracklane does.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	rows     map[string]int // by lane
	posts    map[string]int
	largest  map[string]int // points in one post
	devices  map[string]bool
	statuses []int // responses to give before accepting anything
	faults   []string
}

func newServer(t *testing.T, statuses ...int) *server {
	s := &server{
		rows: make(map[string]int), posts: make(map[string]int), largest: make(map[string]int),
		devices: make(map[string]bool), statuses: statuses,
	}
	mux := http.NewServeMux()
	for _, l := range lane.All(lane.Options{FlymasterSecret: secret}) {
		mux.HandleFunc("POST /"+l.Name, func(w http.ResponseWriter, r *http.Request) { s.take(w, r, l) })
	}
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *server) take(w http.ResponseWriter, r *http.Request, l *lane.Lane) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.statuses) > 0 {
		w.WriteHeader(s.statuses[0])
		s.statuses = s.statuses[1:]
		return
	}
	if err != nil {
		return // the pilots stopped in the middle of a post
	}
	decoded, err := l.Decode(body, lane.DecodeOptions{Now: time.Now()})
	switch {
	case err != nil:
		s.faults = append(s.faults, l.Name+": "+err.Error())
	case decoded.RejectedTotal > 0:
		s.faults = append(s.faults, l.Name+": "+decoded.Rejected[0].Field+" "+decoded.Rejected[0].Error)
	case decoded.Points.Len() == 0:
		s.faults = append(s.faults, l.Name+": no points")
	default:
		s.posts[l.Name]++
		s.rows[l.Name] += decoded.Points.Len()
		s.largest[l.Name] = max(s.largest[l.Name], decoded.Points.Len())
		s.devices[l.Name+" "+decoded.Points.Tracks[0].Fields[0].Value] = true
		w.WriteHeader(http.StatusAccepted)
	}
}

// seen runs check while nothing is posted.
func (s *server) seen(check func() bool) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return check()
	}
}

// start flies pilots until the test ends or the returned function is called.
func start(t *testing.T, s *server, count int, second time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var flying sync.WaitGroup
	flying.Go(func() {
		assert.NoError(t, fly(ctx, Options{
			URL: s.URL, Count: count, Seed: 1, FlymasterSecret: secret,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}, second))
	})
	stop = func() {
		cancel()
		flying.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func TestFly_FillsAllLanesWithOnePilot(t *testing.T) {
	s := newServer(t)
	start(t, s, 1, time.Second)
	require.Eventually(t, s.seen(func() bool {
		return s.rows["live"] > 1 && s.rows["upload"] > 600 && s.rows["scoring"] > 600 && s.rows["flymaster"] > 600
	}), 10*time.Second, 20*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.faults)
	require.Equal(t, s.rows["upload"], s.rows["scoring"])
}

func TestFly_ReportsLiveAndUploadsAfterLanding(t *testing.T) {
	const pilots = 8
	s := newServer(t)
	start(t, s, pilots, 100*time.Microsecond)
	// Two of the eight have flown before; the others have to land first.
	require.Eventually(t, s.seen(func() bool {
		return s.posts["upload"] >= pilots+pilots/kinds && s.posts["scoring"] >= pilots+pilots/kinds
	}), 2*time.Minute, 20*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.faults)
	perPost := float64(s.rows["live"]) / float64(s.posts["live"])
	require.Greater(t, perPost, 1.0, "nobody bundles")
	require.Less(t, perPost, 3.0, "everybody bundles")
	devices := 0
	for device := range s.devices {
		if strings.HasPrefix(device, "flymaster ") {
			devices++
		}
	}
	require.Equal(t, 2*pilots/kinds, devices)
}

func TestOutbox_SendsAFailedPostAgain(t *testing.T) {
	s := newServer(t, http.StatusServiceUnavailable, http.StatusBadGateway)
	start(t, s, 1, time.Second)
	// The Flymaster's file is the first post and the upload comes next.
	require.Eventually(t, s.seen(func() bool {
		return s.posts["flymaster"] == 1 && s.posts["upload"] == 1 && s.posts["scoring"] == 1
	}), patience, 10*time.Millisecond)
}

func TestOutbox_DropsARefusedPost(t *testing.T) {
	s := newServer(t, http.StatusBadRequest)
	start(t, s, 1, time.Second)
	require.Eventually(t, s.seen(func() bool { return s.posts["scoring"] == 1 }), patience, 10*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Zero(t, s.posts["flymaster"])
}

func TestFly_StopsAtOnce(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(*testing.T, *server)
	}{
		{"while the server responds", func(*testing.T, *server) {}},
		{"while the server is down", func(_ *testing.T, s *server) { s.Close() }},
		{"while the server hangs", func(t *testing.T, s *server) {
			s.mu.Lock()
			t.Cleanup(s.mu.Unlock)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			stop := start(t, s, 20, 50*time.Millisecond)
			require.Eventually(t, s.seen(func() bool { return s.posts["live"] > 20 }), patience, time.Millisecond)
			c.prepare(t, s)
			asked := time.Now()
			stop()
			// A request that is waited for lasts ten seconds here, and the machine may
			// be busy.
			require.Less(t, time.Since(asked), requestTimeout/2)
		})
	}
}

func TestOutbox_LogsWhatItDropsWhenFull(t *testing.T) {
	var log strings.Builder
	o := newOutbox(http.DefaultClient, nil, "", slog.New(slog.NewTextHandler(&log, nil)))
	for range outboxPosts {
		o.add(post{})
	}
	require.Empty(t, log.String())
	o.add(post{})
	o.add(post{})
	require.Equal(t, 1, strings.Count(log.String(), "dropping posts"))
	<-o.queue
	o.add(post{})
	require.Contains(t, log.String(), "dropped_posts=2")
}

func TestFly_RefusesAnAddressThatIsNone(t *testing.T) {
	require.ErrorContains(t, Fly(t.Context(), Options{URL: "localhost", Count: 1}), "http://localhost:8080")
}
