package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/auth"
	"tracklane/internal/browsertest"
)

// mapTab is a browser's tab with the map of a running program.
type mapTab struct{ context.Context }

// openMap opens the map at an address, after a script of the test's own if there is one.
func openMap(t *testing.T, address, script string) mapTab {
	t.Helper()
	tab := mapTab{browsertest.Open(t, 3*time.Minute)}
	require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(1280, 720)))
	if script != "" {
		_, err := chromedp.Call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		require.NoError(t, err)
	}
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(address)))
	return tab
}

// beside opens another address in a tab of the same browser.
func (tab mapTab) beside(t *testing.T, address string) mapTab {
	t.Helper()
	other, closeTab := chromedp.NewContext(tab)
	t.Cleanup(closeTab)
	require.NoError(t, chromedp.Do(other, chromedp.Navigate(address)))
	return mapTab{other}
}

// ask returns the value of a JavaScript expression.
func ask[T any](t *testing.T, tab mapTab, expression string) T {
	t.Helper()
	value, err := chromedp.Run(tab, chromedp.Evaluate[T](expression))
	require.NoError(t, err, expression)
	return value
}

func (tab mapTab) await(t *testing.T, expression string, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool { return ask[bool](t, tab, expression) }, within, 50*time.Millisecond, expression)
}

const mapPatience = 40 * time.Second

// isIn is whether a flight is in the list in a state.
func isIn(flight, state string) string {
	return fmt.Sprintf("document.querySelector('[data-flight=%q]')?.classList.contains(%q) ?? false", flight, state)
}

// leg is a part of a flight: from and to are seconds after the start, and it moves or
// stays where the leg before it ended.
type leg struct {
	from, to int
	moves    bool
}

// liveFlight is a body with a fix for each five seconds of the legs.
func liveFlight(id string, start time.Time, legs ...leg) string {
	var points []string
	lat := 46.5
	for _, l := range legs {
		for second := l.from; second < l.to; second += 5 {
			if l.moves {
				lat += 5e-4
			}
			points = append(points, fmt.Sprintf(`{"datetime":%q,"lat":%.6f,"lon":7.5,"elevation":1500}`,
				start.Add(time.Duration(second)*time.Second).UTC().Format(time.RFC3339Nano), lat))
		}
	}
	return fmt.Sprintf(`{"flight_id":%q,"track_points":[%s]}`, id, strings.Join(points, ","))
}

// The page's clock is the test's, by which the server's events and the browser are: what
// the pilots will do is stored beforehand, and comes as the clock is put forward.
func TestMap_TellsWhenAPilotIsSilentOrHasLanded(t *testing.T) {
	t.Parallel()
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+servers.Database(t), "REDIS_URL="+servers.Redis(t).URL())
	start := time.Now().Truncate(time.Second)
	tab := openMap(t, s.url+"/map", fmt.Sprintf(`window.clock = %d;
		const parse = JSON.parse;
		JSON.parse = (...all) => { const value = parse(...all); if (value?.at) value.at = window.clock; return value; };
		Date.now = () => window.clock;`, start.UnixMilli()))
	for _, body := range []string{
		liveFlight("flies", start, leg{-60, 800, true}),
		liveFlight("stops", start, leg{-60, 5, true}),
		liveFlight("lands", start, leg{-60, 35, true}, leg{35, 800, false}),
	} {
		require.Less(t, postJSON(t, s.url+"/live", body).code, 300)
	}
	states := func(seconds int, stops, lands string) {
		t.Helper()
		ask[bool](t, tab, fmt.Sprintf("(window.clock = %d, true)", start.Add(time.Duration(seconds)*time.Second).UnixMilli()))
		// The list is written in one go: what it says of this flight is of this time.
		tab.await(t, fmt.Sprintf(`Number(document.querySelector("[data-flight=flies]")?.dataset.lastFix) > %d`, start.Add(time.Duration(seconds-6)*time.Second).UnixMilli()), mapPatience)
		for flight, state := range map[string]string{"flies": "flying", "stops": stops, "lands": lands} {
			assert.True(t, ask[bool](t, tab, isIn(flight, state)), "%s is not %s after %d s", flight, state, seconds)
		}
	}
	states(0, "flying", "flying")
	states(120, "flying", "flying")
	states(126, "silent", "flying")
	states(634, "silent", "flying")
	states(636, "silent", "landed")
	tab.await(t, `document.getElementById("totals").textContent == "1 flying, 1 silent, 1 landed"`, mapPatience)
}

// guarded is a program that wants tokens.
func startGuarded(t *testing.T) (s *server, token func(auth.Claims) string) {
	t.Helper()
	const key = "0123456789abcdef0123456789abcdef"
	s = startServer(t, app.Roles{API: true, Worker: true}, "AUTH=on", "SECRET_KEY="+key, "OPERATOR_PASSWORD=cloudbase",
		"DATABASE_URL="+servers.Database(t), "REDIS_URL="+servers.Redis(t).URL())
	return s, func(claims auth.Claims) string {
		claims.Expires = time.Now().Add(time.Hour)
		token, err := auth.Sign(key, claims, time.Now())
		require.NoError(t, err)
		return token
	}
}

func TestMap_ShowsATokenItsRaceAloneAndNothingBeforeItsDelay(t *testing.T) {
	t.Parallel()
	s, token := startGuarded(t)
	const delay = 5 * time.Second
	send := func(race, flight string) {
		body := liveFlight(flight, time.Now().Truncate(time.Millisecond), leg{-10, 1, true})
		require.Less(t, postJSON(t, s.url+"/t/"+token(auth.Claims{Race: race, Scopes: []string{"live"}})+"/live", body).code, 300)
	}
	address := func(race string, delay time.Duration) string {
		return s.url + "/t/" + token(auth.Claims{Race: race, Delay: delay, Scopes: []string{auth.ReadScope}}) + "/map"
	}
	cup := openMap(t, address("cup", 0), "")
	other, late := cup.beside(t, address("open", 0)), cup.beside(t, address("cup", delay))
	// The page sees when a fix is shown, and how old it is then.
	ask[bool](t, late, `(window.youngest = Infinity, setInterval(() => {
		for (const row of document.querySelectorAll("#pilots tr")) window.youngest = Math.min(window.youngest, Date.now() - row.dataset.lastFix);
	}, 20), true)`)
	send("cup", "anna")
	cup.await(t, isIn("anna", "flying"), mapPatience)
	send("open", "bert")
	other.await(t, isIn("bert", "flying"), mapPatience)
	assert.Equal(t, "bert", ask[string](t, other, `[...document.querySelectorAll("#pilots tr")].map((row) => row.dataset.flight).join()`))
	late.await(t, isIn("anna", "flying"), mapPatience)
	assert.Equal(t, "delayed by 5 s", ask[string](t, late, `document.getElementById("delay").textContent`))
	late.await(t, `window.youngest < 15_000`, mapPatience)
	assert.GreaterOrEqual(t, ask[float64](t, late, "window.youngest"), float64(delay.Milliseconds()))
	last := `Number(document.querySelector("[data-flight=anna]").dataset.lastFix)`
	late.await(t, fmt.Sprintf("%s == %.0f", last, ask[float64](t, cup, last)), mapPatience)
	assert.GreaterOrEqual(t, ask[float64](t, late, "window.youngest"), float64(delay.Milliseconds()))

	for path, want := range map[string]int{"/map": http.StatusUnauthorized, "/t/" + token(auth.Claims{Scopes: []string{"live"}}) + "/map": http.StatusForbidden} {
		response, err := http.Get(s.url + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, response.StatusCode)
	}
}

// The worker, Redis and the API are killed one after another while points come: the page
// says so, and all of them are on it soon after the return.
func TestMap_HasEveryPointAfterAllWasKilled(t *testing.T) {
	t.Parallel()
	redis := servers.Redis(t)
	if redis.InMemory() {
		t.Skip("no redis-server")
	}
	environment := []string{"DATABASE_URL=" + servers.Database(t), "REDIS_URL=" + redis.URL()}
	api, worker := startProcess(t, "api", environment...), startProcess(t, "worker", environment...)
	start, sent := time.Now().Add(-5*time.Minute), 0
	send := func() {
		t.Helper()
		at := start.Add(time.Duration(sent) * time.Second).UTC().Format(time.RFC3339Nano)
		body := fmt.Sprintf(`{"flight_id":"anna","track_points":[{"datetime":%q,"lat":%.6f,"lon":7.5}]}`, at, 46.5+float64(sent)*1e-4)
		require.Less(t, postJSON(t, api.url+"/live", body).code, 300)
		sent++
	}
	tab := openMap(t, api.url+"/map", "")
	tab.await(t, `document.getElementById("connection").textContent == "live"`, mapPatience)
	isShown := func() string {
		return `document.querySelector("[data-flight=anna]")?.dataset.fixes == ` + strconv.Itoa(sent)
	}
	send()
	tab.await(t, isShown(), mapPatience)

	require.NoError(t, worker.Kill())
	send() // waits in Redis
	require.NoError(t, redis.Kill())
	send() // is stored past it
	require.NoError(t, api.Kill())
	tab.await(t, `!document.getElementById("lost").hidden && document.body.classList.contains("stale")`, mapPatience)

	require.NoError(t, redis.Restart(t.Context()))
	startProcessOn(t, api.port, "api", environment...)
	startProcess(t, "worker", environment...)
	back := time.Now()
	send()
	within := mapPatience // of a machine that runs other tests, too
	if *full {
		within = 10 * time.Second
	}
	tab.await(t, isShown(), within)
	t.Logf("every point was on the map %s after the return", time.Since(back).Round(100*time.Millisecond))
	assert.True(t, ask[bool](t, tab, `document.getElementById("lost").hidden && !document.body.classList.contains("stale")`))
}
