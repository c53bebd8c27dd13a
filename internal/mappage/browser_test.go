package mappage

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/browsertest"
	"tracklane/internal/sse"
)

// TestState runs the tests of the page's rules, which need no page.
func TestState(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node: install the package nodejs")
	}
	output, err := exec.CommandContext(t.Context(), node, "--test", "state.test.mjs").CombinedOutput()
	assert.NoError(t, err, string(output))
}

func TestPage_LoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	policy := func(tiles string) (policy, text string) {
		w := httptest.NewRecorder()
		New(tiles).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/map", nil))
		require.Equal(t, http.StatusOK, w.Code)
		return w.Header().Get("Content-Security-Policy"), w.Body.String()
	}
	got, text := policy("")
	assert.Contains(t, got, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'")
	assert.NotContains(t, text, "//")
	got, text = policy("https://{s}.tiles.example/{z}/{x}/{y}.png?a=1&b=2")
	assert.Contains(t, got, "img-src 'self' data: https://*.tiles.example; connect-src")
	assert.Contains(t, text, `content="https://{s}.tiles.example/{z}/{x}/{y}.png?a=1&amp;b=2"`)
}

// site serves the page with made-up flights.
type site struct {
	address string
	tiles   string // as of New
	stop    func()

	// failures is how many requests fail for what follows the first page of flights,
	// which then has one flight; 0 = all are on the first page.
	failures int32

	day *replayed // what is stored, instead of the usual flights; nil = those
}

func (s *site) start(t *testing.T) {
	t.Helper()
	var failed atomic.Int32
	mux := http.NewServeMux()
	page := New(s.tiles)
	mux.Handle("/map", page)
	mux.Handle("/map/", page)
	mux.HandleFunc("/live/stream", stream)
	mux.HandleFunc("/flights", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			page.ServeFlights(w, r)
			return
		}
		if s.day != nil {
			s.day.flights(w, r)
			return
		}
		switch isFirst := !r.URL.Query().Has("cursor"); {
		case isFirst && s.failures > 0:
			_, _ = w.Write([]byte(madeUpPage))
		case !isFirst && failed.Add(1) <= s.failures:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte(madeUpFlights))
		}
	})
	mux.HandleFunc("/flights/{id}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(madeUpFlight)) })
	mux.HandleFunc("/flights/{id}/track", func(w http.ResponseWriter, r *http.Request) {
		if s.day != nil {
			s.day.track(w, r)
			return
		}
		_, _ = w.Write([]byte(madeUpTrack))
	})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", s.address)
	require.NoError(t, err)
	s.address = listener.Addr().String()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	s.stop = func() { _ = server.Close() }
	t.Cleanup(s.stop)
}

// stream sends three flights: one that goes on, one that sent its last fix some time
// ago, and one that has been in one place for more than ten minutes.
func stream(w http.ResponseWriter, r *http.Request) {
	events := make(chan []byte)
	go func() {
		defer close(events)
		name := "snapshot"
		for ctx := r.Context(); ; name = "points" {
			select {
			case events <- madeUp(name, time.Now()):
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}()
	sse.Serve(w, r, events)
}

func madeUp(name string, now time.Time) []byte {
	type flight struct {
		ID    string   `json:"id"`
		Pilot string   `json:"pilot_id"`
		Fixes [][7]any `json:"fixes"`
	}
	fix := func(age int, moves float64, climb float64) [7]any {
		at := now.Add(-time.Duration(age) * time.Second)
		way := float64(at.Unix()%100_000) * moves
		return [7]any{at.UnixMilli(), 46.5 + way*1e-4, 7.5 + moves/100 + way*2e-5, 1500 + float64(at.Unix()%100_000%700)*climb, nil, nil, nil}
	}
	flying, silent, landed := flight{"f-1", "anna", nil}, flight{"f-2", "<b>bert</b>", nil}, flight{"f-3", "carla", nil}
	oldest := 0
	if name == "snapshot" {
		oldest = 620
	}
	for age := oldest; age >= 0; age -= 10 {
		flying.Fixes = append(flying.Fixes, fix(age, 1, 2))
		if name == "snapshot" {
			silent.Fixes = append(silent.Fixes, fix(age+118, 0.7, -1))
			landed.Fixes = append(landed.Fixes, fix(age, 0, 0))
		}
	}
	inDistress := silent
	inDistress.ID, inDistress.Pilot = "f-4", "dora"
	shown := []flight{flying, silent, landed, inDistress}
	if name == "points" {
		shown = shown[:1]
	}
	data, err := json.Marshal(map[string]any{"at": now.UnixMilli(), "delay": 0, "flights": shown, "sos": []map[string]any{
		{"at": now.Add(-time.Minute).UnixMilli(), "pilot_id": "dora", "app": "traccar", "says": "sos", "lat": 46.5, "lon": 7.5},
		{"at": now.Add(-time.Hour).UnixMilli(), "device_id": "7", "app": "livetrack24", "says": "needs help"},
	}})
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, "event: %s\nid: 1-1\ndata: %s\n\n", name, data)
}

// browser is a tab, and what it logged as errors.
type browser struct {
	context.Context
	mu     sync.Mutex
	errors []string
}

func openBrowser(t *testing.T, width, height int64, scheme string) *browser {
	t.Helper()
	timeout := 4 * time.Minute
	if *full {
		timeout *= 4
	}
	b := &browser{Context: browsertest.Open(t, timeout)}
	require.NoError(t, chromedp.Listen(b.Context, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			b.errors = append(b.errors, fmt.Sprintf("%+v", e.ExceptionDetails))
		}
	}))
	_, err := chromedp.Call(b, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(b, chromedp.EmulateViewport(width, height)))
	_, err = chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(t, err)
	return b
}

func (b *browser) complaints() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.errors, "\n")
}

func (b *browser) waitFor(t *testing.T, expression string) {
	t.Helper()
	b.waitWithin(t, expression, 30*time.Second)
}

func (b *browser) waitWithin(t *testing.T, expression string, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		value, err := chromedp.Run(b, chromedp.Evaluate[bool](expression))
		return err == nil && value
	}, within, 100*time.Millisecond, "%s\n%s", expression, b.complaints())
}

func (b *browser) screenshot(t *testing.T, name string) {
	t.Helper()
	picture, err := chromedp.Run(b, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), picture, 0o644))
}

func stateOf(flight, state string) string {
	return fmt.Sprintf("document.querySelector('[data-flight=%q]')?.classList.contains(%q) ?? false", flight, state)
}

func TestPage_TellsFlyingSilentAndLandedApart(t *testing.T) {
	var s site
	s.address = "127.0.0.1:0"
	s.start(t)
	b := openBrowser(t, 1280, 720, "light")
	require.NoError(t, chromedp.Do(b, chromedp.Navigate("http://"+s.address+"/map")))
	b.waitFor(t, stateOf("f-1", "flying"))
	b.waitFor(t, stateOf("f-2", "silent")) // two minutes are over soon after the start
	b.waitFor(t, stateOf("f-3", "landed"))
	b.waitFor(t, stateOf("f-4", "sos"))
	b.waitFor(t, `document.querySelector("#pilots tr").dataset.flight == "f-4" && document.querySelectorAll(".label.sos").length == 1`)
	b.waitFor(t, `document.getElementById("sos").textContent == "SOS dora: sos, 46.50000 7.50000 60 s agoSOS 7: needs help 60 min ago"`)
	b.waitFor(t, `document.getElementById("totals").textContent == "1 SOS, 1 flying, 1 silent, 1 landed"`)
	b.waitFor(t, `document.querySelector("[data-flight=f-2] th").textContent == "<b>bert</b>"`)
	b.waitFor(t, `document.querySelectorAll(".leaflet-tooltip").length == 4`)
	// Bert is where Dora is, who is in distress.
	b.waitFor(t, `[...document.querySelectorAll(".leaflet-tooltip.is-covered")].map((label) => label.textContent.slice(0, 11)).join() == "<b>bert</b>"`)
	b.waitFor(t, `(document.querySelector("[data-flight=f-1] button").click(), document.querySelector("#chart canvas") != null)`)
	t.Run("accessible", func(t *testing.T) { browsertest.RequireAccessible(t, b) })
	b.waitFor(t, `(document.getElementById("filter").value = "carla", document.getElementById("filter").dispatchEvent(new Event("input")), document.querySelectorAll("#pilots tr").length == 1)`)
	b.waitFor(t, `location.hash.includes("filter=carla")`)
	assert.Empty(t, b.complaints(), "the browser complains, maybe about the Content-Security-Policy")
	b.screenshot(t, "light")

	s.stop()
	b.waitFor(t, `!document.getElementById("lost").hidden && document.body.classList.contains("stale")`)
	s.start(t)
	b.waitFor(t, `document.getElementById("lost").hidden && !document.body.classList.contains("stale")`)
}

func TestPage_FitsItsScreen(t *testing.T) {
	var s site
	s.address = "127.0.0.1:0"
	s.start(t)
	for _, screen := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"phone", 390, 844, "dark"}, {"wall", 1920, 1080, "dark"}} {
		t.Run(screen.name, func(t *testing.T) {
			b := openBrowser(t, screen.width, screen.height, screen.scheme)
			require.NoError(t, chromedp.Do(b, chromedp.Navigate("http://"+s.address+"/map#colour=climb&flight=f-1")))
			b.waitFor(t, stateOf("f-3", "landed"))
			b.waitFor(t, fmt.Sprintf("document.documentElement.scrollWidth <= %d", screen.width))
			b.waitFor(t, `document.querySelector("#chart canvas") != null`)
			b.screenshot(t, screen.name)
			t.Run("accessible", func(t *testing.T) { browsertest.RequireAccessible(t, b) })
			assert.Empty(t, b.complaints())
		})
	}
}
