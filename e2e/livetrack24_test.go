package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/auth"
)

// getText returns the text of the response.
func getText(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	_, text := do(t, request)
	return text
}

// The password comes with the start alone; the positions of the session are the
// token's pilot's in every process, after a restart and without Redis.
func TestLiveTrack24_ASessionOutlivesProcessesAndRedis(t *testing.T) {
	t.Parallel()
	database, redis := servers.Database(t), servers.Redis(t)
	if redis.InMemory() {
		return
	}
	const key = "0123456789abcdef0123456789abcdef"
	start := func() *server {
		return startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+redis.URL(),
			"REDIS_TIMEOUT=5s", "AUTH=on", "SECRET_KEY="+key, "OPERATOR_PASSWORD=cloudbase")
	}
	claims := auth.Claims{Pilot: "anna", Race: "cup", Scopes: []string{"live"}, Expires: time.Now().Add(2 * time.Hour)}
	token, err := auth.Sign(key, claims, time.Now())
	require.NoError(t, err)
	user, password, err := auth.SignPassword(key, claims, time.Now())
	require.NoError(t, err)
	get := func(s *server, path string) string { return getText(t, s.url+path) }
	first := start()
	var sessions []string
	for name, pass := range map[string]string{"Anna": token, user: password} {
		credentials := "&user=" + url.QueryEscape(name) + "&pass=" + url.QueryEscape(pass)
		number := getNumber(t, first.url+"/client.php?op=login"+credentials)
		session := sessionOf(number)
		require.Equal(t, "OK", get(first, "/track.php?leolive=2&sid="+session+"&pid=1"+credentials))
		sessions = append(sessions, session)
	}
	sent := 0
	point := func(s *server) {
		sent++
		for _, session := range sessions {
			path := fmt.Sprintf("/track.php?leolive=4&sid=%s&pid=%d&lat=46.5&lon=7.25&alt=1800&sog=36&cog=90&tm=%d", session, sent+1, 1783944000+sent)
			accepted := func() bool { return get(s, path) == "OK" }
			require.Eventually(t, accepted, 30*time.Second, 100*time.Millisecond, "it is sent again, as LK8000 does")
			require.Eventually(t, accepted, 30*time.Second, 100*time.Millisecond)
		}
	}
	point(first)
	first.stop()
	second, third := start(), start()
	for _, s := range []*server{second, third} {
		point(s)
	}
	require.NoError(t, redis.Kill())
	for _, s := range []*server{second, third} {
		point(s)
	}
	assert.Contains(t, get(third, "/track.php?leolive=4&sid=2147483999&pid=2&lat=1&lon=2&tm=1783944000"), "NOK : Redis, which knows the session",
		"it may be a session that Redis knows")
	require.NoError(t, redis.Restart(t.Context())) // points wait in it
	pool := openDatabase(t, database)
	requireRows(t, pool, 2*sent, `SELECT count(*) FROM live_track_points WHERE pilot_id = 'anna' AND race_id = 'cup' AND speed = 10`)
	requireRows(t, pool, 2, `SELECT count(DISTINCT flight_id) FROM live_track_points`)
	for _, session := range sessions {
		requireRows(t, pool, 0, `SELECT count(*) FROM live_track_points WHERE strpos(flight_id || coalesce(device_id, ''), $1) > 0`, session)
	}
}
