package livestream

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/internal/storetest"
	"tracklane/store"
)

var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	logging.Disable()
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

const patience = 20 * time.Second

// installation is a database, a Redis, and a hub of a process that writes nothing.
type installation struct {
	url      string
	pool     *pgxpool.Pool
	reader   *store.Reader
	writer   *store.Writer // of another process
	lane     *lane.Lane
	recorder *metrics.Recorder
	hub      *Hub
}

func newClient(t testing.TB, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

func install(t *testing.T, redisURL string) *installation {
	t.Helper()
	lanes := lane.All(lane.Options{})
	i := &installation{pool: storetest.OpenMigrated(t, servers.Database(t)), lane: lanes[0]}
	publisher := NewPublisher(newClient(t, redisURL), "test")
	go publisher.Run(t.Context())
	i.writer = store.NewWriter(i.pool, lanes, 1000, func(points *lane.Points, _ store.Result, _ time.Duration, _ error) {
		publisher.Publish(points)
	})
	i.reader, i.recorder = store.NewReader(i.pool, lanes), metrics.New(lanes, "test")
	i.hub = NewHub(i.reader, newClient(t, redisURL), "test", i.lane, i.recorder, slog.New(slog.DiscardHandler))
	go i.hub.Run(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		delay, _ := time.ParseDuration(r.URL.Query().Get("delay"))
		view := View{Race: r.URL.Query().Get("race"), Delay: delay}
		if err := i.hub.Serve(w, r, view, r.Header.Get("Last-Event-ID")); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// write commits a point of a flight of a race.
func (i *installation) write(t *testing.T, flight, race string, at time.Time) {
	t.Helper()
	points := lane.NewPoints(i.lane, 1)
	track, field, reason := lane.Flight{ID: flight, PilotID: "p-" + flight, RaceID: race}.Track(lane.DecodeOptions{Now: at})
	require.Empty(t, reason, field)
	fix := lane.NoFix()
	fix.Time, fix.Lat, fix.Lon, fix.Elevation = at.UnixMicro(), 46.5, 7.25, 1234.5
	_, reason = points.AddFix(points.AddTrack(track), fix, at)
	require.Empty(t, reason)
	_, err := i.writer.Write(t.Context(), points, "")
	require.NoError(t, err)
}

// event is a server-sent event as a client reads it.
type event struct {
	name, id string
	data     struct {
		At      int64
		Delay   float64
		Flights []struct {
			ID      string
			PilotID string       `json:"pilot_id"`
			RaceID  string       `json:"race_id"`
			Fixes   [][]*float64 // as fixEvent says
		}
		SOS []callEvent
	}
}

func (e event) flights() (ids []string) {
	for _, f := range e.data.Flights {
		ids = append(ids, f.ID)
	}
	return ids
}

// view opens a stream; its events come on the channel, which end closes.
func (i *installation) view(t *testing.T, query, lastID string) (events <-chan event, end func()) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.url+"/?"+query, nil)
	require.NoError(t, err)
	request.Header.Set("Last-Event-ID", lastID)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	into := make(chan event, 1000)
	go func() {
		defer close(into)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<24)
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e = event{name: value}
			case "id":
				e.id = value
			case "data":
				if assert.NoError(t, json.Unmarshal([]byte(value), &e.data)) {
					into <- e
				}
			}
		}
	}()
	end = func() { _ = response.Body.Close() }
	t.Cleanup(end)
	return into, end
}

// next returns the event that shows a flight's point of a time, whatever comes before.
// Points may come twice: transactions of other databases count as under way, too.
func next(t *testing.T, events <-chan event, flight string, at time.Time, within time.Duration) event {
	t.Helper()
	timeout := time.After(within)
	for {
		select {
		case e, open := <-events:
			require.True(t, open, "the stream has ended")
			for _, f := range e.data.Flights {
				for _, fix := range f.Fixes {
					if f.ID == flight && int64(*fix[0]) == at.UnixMilli() {
						return e
					}
				}
			}
		case <-timeout:
			require.Fail(t, "the point is not shown", "%s %s", flight, at)
		}
	}
}

func first(t *testing.T, events <-chan event) event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(patience):
		require.Fail(t, "no event comes")
		return event{}
	}
}

func TestHub_ShowsTheLastFixAndThenEachNewOne(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	start := time.Now().Add(-time.Hour).UTC().Truncate(time.Minute)
	for second := range 25 {
		i.write(t, "a", "r", start.Add(time.Duration(second)*time.Second))
	}
	events, _ := i.view(t, "", "")
	e := first(t, events)
	assert.Equal(t, "snapshot", e.name)
	require.Equal(t, []string{"a"}, e.flights())
	f := e.data.Flights[0]
	assert.Equal(t, "p-a", f.PilotID)
	assert.Len(t, f.Fixes, 3, "a point for each ten seconds")
	last := f.Fixes[2]
	assert.Equal(t, float64(start.Add(24*time.Second).UnixMilli()), *last[0])
	assert.Equal(t, []float64{46.5, 7.25, 1234.5}, []float64{*last[1], *last[2], *last[3]})
	assert.Nil(t, last[4])

	// The first look of the hub is over, and nobody believes that nobody listens.
	time.Sleep(quietTime)
	for range 3 {
		start = start.Add(30 * time.Second)
		i.write(t, "a", "r", start)
		e = next(t, events, "a", start, 2500*time.Millisecond)
		assert.Equal(t, "points", e.name)
	}
}

func TestHub_ShowsEachPointWithoutRedis(t *testing.T) {
	t.Parallel()
	i := install(t, "redis://127.0.0.1:1")
	events, _ := i.view(t, "", "")
	assert.Empty(t, first(t, events).flights())
	for _, flight := range []string{"a", "b"} {
		now := time.Now()
		i.write(t, flight, "r", now)
		next(t, events, flight, now, patience)
	}
}

func TestHub_ResumesWithWhatWasMissed(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	i.write(t, "a", "r", time.Now())
	events, end := i.view(t, "", "")
	e := first(t, events)
	for e.id == "" || strings.HasPrefix(e.id, "0-") {
		e = first(t, events)
	}
	end()
	i.write(t, "b", "r", time.Now().Add(-time.Hour)) // old, but committed now
	i.write(t, "c", "r", time.Now())

	events, _ = i.view(t, "", e.id)
	resumed := first(t, events)
	assert.Equal(t, "points", resumed.name)
	assert.Subset(t, resumed.flights(), []string{"b", "c"})

	events, _ = i.view(t, "", fmt.Sprint("99999999-", time.Now().UnixMicro(), "-1"))
	assert.Equal(t, "snapshot", first(t, events).name, "what cannot be resumed begins again")
}

// Nobody publishes: a look at the last minutes passes over what is an hour old, and
// the next one that goes far back finds it, for those who were away meanwhile, too.
func TestHub_ShowsOldPointsThatWereCommittedLate(t *testing.T) {
	t.Parallel()
	i := install(t, "redis://127.0.0.1:1")
	h := NewHub(i.reader, newClient(t, "redis://127.0.0.1:1"), "test", i.lane, i.recorder, slog.New(slog.DiscardHandler)) // looks when it is told to
	v, _, err := h.join(t.Context(), View{}, "")
	require.NoError(t, err)
	i.write(t, "old", "r", time.Now().Add(-time.Hour))
	i.write(t, "new", "r", time.Now())
	look := func() string {
		h.look(t.Context())
		h.send(time.Now())
		select {
		case text := <-v.events:
			return string(text)
		case <-time.After(patience):
			require.Fail(t, "no event comes")
			return ""
		}
	}
	event := look()
	assert.Contains(t, event, `"id":"new"`)
	assert.NotContains(t, event, `"id":"old"`)
	h.wantFar(time.Now())
	assert.Contains(t, look(), `"id":"old"`)

	_, event, _ = strings.Cut(event, "id: ")
	id, _, _ := strings.Cut(event, "\n")
	_, resumed, err := h.join(t.Context(), View{}, id)
	require.NoError(t, err)
	assert.Contains(t, string(resumed), "event: points")
	assert.Contains(t, string(resumed), `"id":"old"`)
}

// TimescaleDB tells no transaction of what is compressed, which is more than an event
// may have here.
func TestHub_KeepsItsViewersWhenChunksAreCompressed(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	var isHypertable bool
	require.NoError(t, i.pool.QueryRow(t.Context(), `SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL`).Scan(&isHypertable))
	if !isHypertable {
		t.Skip("no TimescaleDB")
	}
	start := time.Now().Add(-time.Hour - 30*time.Minute)
	for flights, each := 0, 1000; flights*each < maxPending+1000; flights += 3 {
		_, err := i.writer.Write(t.Context(), batch(i.lane, 3, each, start.UnixMicro()+int64(flights)), "")
		require.NoError(t, err)
	}
	_, err := i.pool.Exec(t.Context(), `SELECT compress_chunk(chunk) FROM show_chunks('live_track_points') AS chunk`)
	require.NoError(t, err)
	events, _ := i.view(t, "", "")
	first(t, events)
	late := time.Now().Add(-time.Hour)
	i.write(t, "late", "r", late)
	i.hub.wantFar(time.Now())
	i.hub.look(t.Context())
	next(t, events, "late", late, patience)
}

func TestHub_ShowsARaceAlone(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	i.write(t, "a", "r", time.Now())
	i.write(t, "b", "s", time.Now())
	events, _ := i.view(t, "race=s", "")
	assert.Equal(t, []string{"b"}, first(t, events).flights())
	i.write(t, "a", "r", time.Now())
	now := time.Now()
	i.write(t, "c", "s", now)
	assert.NotContains(t, next(t, events, "c", now, patience).flights(), "a")
}

func TestHub_ShowsNothingBeforeItsDelayIsOver(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	const delay = 6 * time.Second
	i.write(t, "early", "r", time.Now().Add(-time.Minute))
	now := time.Now()
	i.write(t, "a", "r", now)
	events, _ := i.view(t, "delay=6s", "")
	e := first(t, events)
	assert.Equal(t, []string{"early"}, e.flights())
	assert.InDelta(t, delay.Seconds(), e.data.Delay, 0)
	late := time.Now().Add(2 * time.Second)
	i.write(t, "b", "r", late)
	for _, want := range []struct {
		flight string
		at     time.Time
	}{{"a", now}, {"b", late}} {
		next(t, events, want.flight, want.at, patience)
		assert.GreaterOrEqual(t, time.Since(want.at), delay)
	}
}

func TestHub_DropsASlowViewer(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	h := NewHub(i.reader, newClient(t, servers.Redis(t).URL()), "test", i.lane, i.recorder, slog.New(slog.DiscardHandler))
	v, _, err := h.join(t.Context(), View{}, "")
	require.NoError(t, err)
	for range maxBacklog {
		h.send(time.Now())
	}
	assert.Equal(t, 1, h.viewers)
	h.send(time.Now())
	assert.Zero(t, h.viewers)
	h.leave(v)
	assert.Zero(t, h.viewers)
	h.send(time.Now())
	assert.False(t, h.hasGroups())
}

// The process that was called is another one than the viewers', and has ended.
func TestHub_ShowsWhoIsInDistress(t *testing.T) {
	t.Parallel()
	url := servers.Redis(t).URL()
	i := install(t, url)
	caller, now := metrics.New([]*lane.Lane{i.lane}, "test"), time.Now()
	caller.Distress(metrics.DistressCall{At: now, App: "osmand", Pilot: "anna", Race: "r", Flight: "a", Says: "sos"})
	caller.Distress(metrics.DistressCall{At: now, App: "osmand", Pilot: "bert", Race: "s", Device: "7", Says: "sos"})
	done, stop := context.WithCancel(t.Context())
	published := make(chan struct{})
	go func() {
		defer close(published)
		caller.Publish(done, newClient(t, url), "caller")
	}()
	client := newClient(t, url)
	require.Eventually(t, func() bool { return client.Exists(t.Context(), "tracklane:distress").Val() == 1 }, patience, 10*time.Millisecond)
	stop()
	<-published

	pilots := func(query string) (pilots []string, at time.Time) {
		events, end := i.view(t, query, "")
		defer end()
		for pilots == nil {
			for _, call := range first(t, events).data.SOS {
				pilots = append(pilots, call.PilotID)
			}
		}
		return pilots, time.Now()
	}
	_, at := pilots("delay=4s")
	assert.GreaterOrEqual(t, at.Sub(now), 4*time.Second, "a viewer with a delay sees it late as well")
	shown, _ := pilots("")
	assert.Equal(t, []string{"anna", "bert"}, shown)
	shown, _ = pilots("race=s")
	assert.Equal(t, []string{"bert"}, shown)
}

// An app calls with each position: its newest call is never older than a delay.
func TestView_ShowsACallThatRepeatsAndNoneThatIsTooOld(t *testing.T) {
	t.Parallel()
	now, recorder := time.Now(), metrics.New(lane.All(lane.Options{}), "test")
	call := func(device string, age time.Duration) {
		recorder.Distress(metrics.DistressCall{At: now.Add(-age), App: "osmand", Device: device, Says: age.String()})
	}
	for age := 20 * time.Minute; age >= 0; age -= time.Second {
		call("7", age)
	}
	call("8", 23*time.Hour)
	calls := recorder.DistressCalls(now)
	shown := func(delay time.Duration, at time.Time) (says []string) {
		var events []callEvent
		require.NoError(t, json.Unmarshal(View{Delay: delay}.callsOf(calls, at), &events))
		for _, event := range events {
			says = append(says, event.Says)
		}
		return says
	}
	assert.Equal(t, []string{"23h0m0s", "0s"}, shown(0, now))
	assert.Equal(t, []string{"23h0m0s"}, shown(30*time.Minute, now))
	assert.Equal(t, []string{"23h0m0s", "20m0s"}, shown(20*time.Minute, now.Add(time.Millisecond)))
	for _, delay := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute} {
		says := shown(delay, now)
		require.Len(t, says, 2)
		age, err := time.ParseDuration(says[1])
		require.NoError(t, err)
		assert.GreaterOrEqual(t, age, delay)
		assert.LessOrEqual(t, age, delay+delay/16+time.Second, "what was known then, and not the first call")
	}
	assert.Equal(t, []string{"23h0m0s", "0s"}, shown(10*time.Minute, now.Add(15*time.Minute)))
	assert.Equal(t, []string{"0s"}, shown(0, now.Add(2*time.Hour)), "nobody viewed for two hours")
}
