package handlers

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/session"
)

const (
	ownTracksPoint = `{"_type":"location","tst":1783944000,"lat":46.5,"lon":7.25,"tid":"xy"}`
	overlandBatch  = `{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[7.25,46.5]},"properties":{"timestamp":"2026-07-13T12:00:00Z","device_id":"7"}}]}`
	livePoint      = "/track.php?leolive=4&sid=77&pid=2&lat=46.50000&lon=7.25000&alt=1800&sog=36&cog=360&tm=1783944000"
	parameters     = "id=7&timestamp=1783944000&lat=46.5&lon=7.25"
)

// Each app hears these bytes of what was stored, and of what never can be: anything
// else comes again, for ever.
func TestTrackers_HearWhatTheyUnderstand(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	const asJSON, form = "application/json", "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		method, target, contentType, body string
		wantType, want                    string // begins the body where it ends in …
	}{
		"OwnTracks":               {"POST", "/live/owntracks", asJSON, ownTracksPoint, asJSON, "[]"},
		"OwnTracks, empty":        {"POST", "/live/owntracks", asJSON, "", asJSON, "[]"},
		"OwnTracks, a dump":       {"POST", "/live/owntracks", asJSON, `{"_type":"dump"}`, asJSON, "[]"},
		"OwnTracks, encrypted":    {"POST", "/live/owntracks", asJSON, `{"_type":"encrypted","data":"x"}`, asJSON, "[]"},
		"OwnTracks, a bad place":  {"POST", "/live/owntracks", asJSON, strings.Replace(ownTracksPoint, "46.5", "146.5", 1), asJSON, "[]"},
		"OwnTracks, too large":    {"POST", "/live/owntracks", asJSON, strings.Repeat(" ", 2<<20), asJSON, "[]"},
		"Overland":                {"POST", "/live/overland", asJSON, overlandBatch, asJSON, `{"result":"ok"}`},
		"Overland, a bad place":   {"POST", "/live/overland", asJSON, strings.Replace(overlandBatch, "46.5", "146.5", 1), asJSON, `{"result":"ok"}`},
		"LiveTrack24":             {"GET", livePoint, "", "", "text/plain", "OK"},
		"LiveTrack24, no time":    {"GET", livePoint + "x", "", "", "text/plain", "OK"},
		"LiveTrack24, start":      {"GET", "/track.php?leolive=2&sid=77&pid=1&user=anna&pass=x", "", "", "text/plain", "OK"},
		"LiveTrack24, login":      {"GET", "/client.php?op=login&user=anna&pass=x", "", "", "text/plain", "13427323"},
		"OsmAnd":                  {"GET", "/live/osmand?" + parameters, "", "", asJSON, `{"status":"stored","points":1,…`},
		"OsmAnd, no time":         {"GET", "/live/osmand?id=7&lat=1&lon=2", "", "", asJSON, `{"status":"nothing stored","points":0,"rejected":[{"index":0,"field":"timestamp","error":"is missing"}],"rejected_total":1}` + "\n"},
		"Traccar Client, form":    {"POST", "/live/traccar", form, parameters, asJSON, `{"status":"stored","points":1,…`},
		"Traccar Client, nothing": {"POST", "/live/traccar", form, "id=7&batt=80", asJSON, `{"status":"nothing stored","points":0,"rejected":[],"rejected_total":0}` + "\n"},
		"GPSLogger":               {"GET", "/live/gpslogger?" + parameters + "&spd=3", "", "", asJSON, `{"status":"stored","points":1,…`},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, c.method, url+c.target, strings.NewReader(c.body), "Content-Type", c.contentType)
			assert.Equal(t, http.StatusOK, got.code, got.text)
			assert.Equal(t, c.wantType, strings.TrimSuffix(got.header.Get("Content-Type"), "; charset=utf-8"))
			if begins, cut := strings.CutSuffix(c.want, "…"); cut {
				assert.True(t, strings.HasPrefix(got.text, begins), got.text)
			} else {
				assert.Equal(t, c.want, got.text)
			}
		})
	}
	var flights int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(DISTINCT flight_id) FROM live_track_points").Scan(&flights))
	assert.Equal(t, 6, flights)
}

// What was not stored, and could be later, is not acknowledged.
func TestTrackers_AreToldToSendAgain(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	pool.Close() // Redis is down already
	for name, c := range map[string]struct{ method, target, body, want string }{
		"OwnTracks":      {"POST", "/live/owntracks", ownTracksPoint, `{"error":`},
		"Overland":       {"POST", "/live/overland", overlandBatch, `{"error":`},
		"LiveTrack24":    {"GET", livePoint, "", "NOK : "},
		"OsmAnd":         {"GET", "/live/osmand?" + parameters, "", `{"title":`},
		"Traccar Client": {"POST", "/live/traccar?" + parameters, "", `{"title":`},
		"GPSLogger":      {"GET", "/live/gpslogger?" + parameters, "", `{"title":`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, c.method, url+c.target, strings.NewReader(c.body))
			assert.Equal(t, http.StatusServiceUnavailable, got.code)
			assert.Equal(t, retryAfter, got.header.Get("Retry-After"))
			assert.True(t, strings.HasPrefix(got.text, c.want), got.text)
		})
	}
}

func TestTrackers_ShowAPilotInDistress(t *testing.T) {
	t.Parallel()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	for _, target := range []string{"/live/traccar?alarm=sos&" + parameters, "/track.php?leolive=3&sid=2164260871&pid=9&prid=4"} {
		assert.Equal(t, http.StatusOK, send(t, "GET", url+target, nil).code)
	}
	shown, err := s.pageSnapshot(t.Context())
	require.NoError(t, err)
	require.Len(t, shown.Distress, 2)
	assert.Regexp(t, `^SOS at .* UTC, device 7, at 46.50000, 7.25000 \(traccar\): sos$`, shown.Distress[0])
	assert.Regexp(t, `^SOS at .* UTC, device 7 \(livetrack24\): needs help, seriously hurt$`, shown.Distress[1])
	assert.Contains(t, send(t, "GET", url+"/metrics", nil).text, `tracklane_sos_total{app="livetrack24"} 1`)
}

// The number of a session lets whoever knows it send as its pilot: no packet makes it
// public, and it is good for its own flight alone.
func TestTrackers_KeepTheNumberOfASessionSecret(t *testing.T) {
	t.Parallel()
	s, _, pool := newTestServer(t, lane.All(lane.Options{}))
	config := s.config
	tokens := auth.NewVerifier(testKey, "")
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}) // it is down
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	config.Access = Access{Tokens: tokens, Sessions: session.NewStore(client, tokens, 5*time.Second, config.Logger)}
	locked := New(config)
	server := httptest.NewServer(locked)
	t.Cleanup(server.Close)
	get := func(want int, target string) string {
		got := send(t, "GET", server.URL+target, nil)
		require.Equal(t, want, got.code, got.text)
		return got.text
	}
	pass := "&user=anna&pass=" + url.QueryEscape(token(t, "anna", "cup", "live"))
	user, err := strconv.Atoi(get(http.StatusOK, "/client.php?op=login"+pass))
	require.NoError(t, err)
	sid := fmt.Sprint(1<<31 | 77<<24 | user)
	packet := "/track.php?pid=2&lat=46.5&lon=7.25&sid=" + sid + "&leolive="

	get(http.StatusOK, packet+"4&tm=1783944000"+pass)
	get(http.StatusOK, packet+"3&prid=4"+pass)
	get(http.StatusUnauthorized, strings.Replace(packet, sid, fmt.Sprint(1<<31|77<<24|user^1), 1)+"4&tm=1783944001"+pass)
	get(http.StatusOK, packet+"2"+pass)
	get(http.StatusOK, packet+"4&tm=1783944002")
	get(http.StatusOK, packet+"4&tm=1783944003&flight_id=another")
	var points, flights, secret int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT flight_id),
		count(*) FILTER (WHERE strpos(flight_id, $1) > 0 OR device_id IN ($1, $2)) FROM live_track_points`, sid, strconv.Itoa(user)).Scan(&points, &flights, &secret))
	assert.Equal(t, 3, points)
	assert.Equal(t, 1, flights, "an id of whoever has the number alone is ignored")
	assert.Zero(t, secret)
	shown, err := locked.pageSnapshot(t.Context())
	require.NoError(t, err)
	require.Len(t, shown.Distress, 1)
	assert.NotContains(t, shown.Distress[0], strconv.Itoa(user))
}

// OwnTracks hears that a message is accepted that is too large, so that it does not
// come again: operators hear that it is not.
func TestTrackers_CountWhatIsDroppedForItsSize(t *testing.T) {
	t.Parallel()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	var logged strings.Builder
	s.config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	got := send(t, "POST", url+"/live/owntracks", strings.NewReader(`{"_type":"location","padding":"`+strings.Repeat("x", 1<<20)+`"}`))
	assert.Equal(t, http.StatusOK, got.code)
	assert.Equal(t, "[]", got.text)
	metrics := send(t, "GET", url+"/metrics", nil).text
	assert.Contains(t, metrics, `tracklane_tracker_rejected_total{app="owntracks"} 1`)
	assert.Contains(t, metrics, `tracklane_points_rejected_total{lane="live"} 1`)
	assert.Contains(t, logged.String(), "must not exceed 1048576 bytes")
}

func TestFlymaster_AcceptsThePartDataAtTheOldPath(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	form := "--b\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n0123,0\n1783940000,1783944000,46.5,7.25,1800,36,270\nEOF\n\r\n--b--\r\n"
	got := send(t, "POST", url+"/flymaster/upload/file", strings.NewReader(form), "Content-Type", "multipart/form-data; boundary=b")
	assert.Equal(t, http.StatusCreated, got.code)
	assert.Equal(t, "OK", got.text)
	var serial int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT device_id FROM flymaster").Scan(&serial))
	assert.Equal(t, 123, serial)
}
