package statuspage

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
)

// browserTimeout bounds all that a test does in the browser, its start
// included.
const browserTimeout = 5 * time.Minute

// browser is a headless Chromium with one empty page.
type browser struct {
	context.Context

	mu     sync.Mutex
	errors []string // what the browser logged as errors, and uncaught exceptions
}

// openBrowser starts Chromium and ends it with t.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	b := new(browser)
	tab := browsertest.Open(t, browserTimeout)
	b.Context = tab
	require.NoError(t, chromedp.Listen(tab, b.listen))
	_, err := chromedp.Call(tab, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	return b
}

func (b *browser) listen(event any) {
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
}

// complaints lists what the browser logged as errors so far.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.errors)
}

// resize gives the page a window and a colour scheme.
func (b *browser) resize(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	require.NoError(t, chromedp.Do(b, chromedp.EmulateViewport(width, height)))
	_, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(t, err)
}

func (b *browser) open(t *testing.T, address string) {
	t.Helper()
	require.NoError(t, chromedp.Do(b, chromedp.Navigate(address)))
}

// ask returns the value of a JavaScript expression.
func ask[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	value, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	require.NoError(t, err, expression)
	return value
}

// waitFor waits until a JavaScript expression holds.
func (b *browser) waitFor(t *testing.T, expression string) {
	t.Helper()
	require.Eventually(t, func() bool { return ask[bool](t, b, expression) },
		20*time.Second, 50*time.Millisecond, expression)
}

// screenshot keeps a picture of the page among the test's artifacts.
func (b *browser) screenshot(t *testing.T, name string) {
	t.Helper()
	picture, err := chromedp.Run(b, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), picture, 0o644))
}

// site serves a page of made-up snapshots; it can be stopped, and started again
// at the same address.
type site struct {
	source  atomic.Pointer[func(time.Time) Snapshot]
	address string
	stop    func()
}

func startSite(t *testing.T) *site {
	t.Helper()
	s := &site{address: "127.0.0.1:0"}
	s.show(madeUp)
	s.start(t, true)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *site) url() string { return "http://" + s.address }

func (s *site) show(source func(time.Time) Snapshot) { s.source.Store(&source) }

// start serves a new Page, which knows the last 15 minutes already if
// remembers.
func (s *site) start(t *testing.T, remembers bool) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", s.address)
	require.NoError(t, err)
	s.address = listener.Addr().String()

	page := New(func(context.Context) (Snapshot, error) { return (*s.source.Load())(time.Now()), nil }, slog.Default())
	if remembers {
		for age := historyLength; age > 0; age -= sampleInterval {
			page.broker.history.add(sampleOf(madeUp(time.Now().Add(-age))))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	server := &http.Server{Handler: page, ReadHeaderTimeout: time.Second}
	var running sync.WaitGroup
	running.Go(func() { page.Run(ctx) })
	running.Go(func() { assert.ErrorIs(t, server.Serve(listener), http.ErrServerClosed) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		assert.NoError(t, server.Shutdown(bounded), "an open page keeps the server from stopping")
		running.Wait()
	})
}

const (
	liveWritten = `document.querySelector(".lane .table .stat b")?.textContent`
	isLive      = `document.querySelectorAll(".lane").length == 4 && !document.body.matches(".waiting, .stale")`
	isStale     = `document.body.classList.contains("stale")`
)

func TestPage_UpdatesAndSurvivesARestartOfTheServer(t *testing.T) {
	b, s := openBrowser(t), startSite(t)
	b.resize(t, 1280, 720, "light")
	b.open(t, s.url())
	b.waitFor(t, isLive)
	for _, id := range []string{"status", "version", "uptime", "clock", "redis-facts", "postgres-facts", "mode"} {
		assert.NotEmpty(t, ask[string](t, b, `document.getElementById("`+id+`").innerText`), id)
	}
	names := ask[[]string](t, b, `[...document.querySelectorAll(".queue h3 span")].map(name => name.textContent)`)
	assert.Equal(t, []string{"live", "upload", "scoring", "flymaster"}, names)
	assert.Equal(t, 8, ask[int](t, b, `[...document.querySelectorAll(".chart canvas")].filter(c => c.width > 50).length`))
	before := ask[string](t, b, liveWritten)
	b.waitFor(t, liveWritten+` != "`+before+`"`)
	assert.Empty(t, b.complaints(), "the browser complains, maybe about the Content-Security-Policy")

	s.stop()
	b.waitFor(t, isStale)
	b.waitFor(t, `document.getElementById("lost").innerText.startsWith("No connection to the server since")`)
	b.screenshot(t, "not-connected")

	s.start(t, false)
	b.waitFor(t, isLive)
	assert.True(t, ask[bool](t, b, `document.getElementById("lost").hidden`))
	before = ask[string](t, b, liveWritten)
	b.waitFor(t, liveWritten+` != "`+before+`"`)
	for _, message := range b.complaints() {
		assert.Contains(t, message, "net::ERR_", "only the network may fail")
	}
}

func TestPage_NamesEachState(t *testing.T) {
	b, s := openBrowser(t), startSite(t)
	b.resize(t, 1280, 720, "dark")
	b.open(t, s.url())
	b.waitFor(t, isLive)
	for _, state := range []struct {
		name  string
		alter func(Snapshot) Snapshot
		words []string
	}{
		{"redis-down", withoutRedis, []string{
			"degraded", "Redis is down: points go straight to the database.", "not reachable",
			"writes points directly to the database", "points/s go straight to the database", "not known while Redis is down"}},
		{"database-down", troubled, []string{
			"degraded", "not reachable", "paused", "oldest 2 min 14 s", "accepts points into the queues"}},
		{"both-down", refusing, []string{
			"unhealthy", "Redis and the database are both down", "refuses points with 503",
			"closed: the database is down as well"}},
		{"healthy", func(s Snapshot) Snapshot { return s }, []string{
			"healthy", "7.0.15, 0.3 ms, 47 MiB of 512 MiB", "TimescaleDB, 1.2 ms", "5 of 8"}},
	} {
		s.show(func(at time.Time) Snapshot { return state.alter(madeUp(at)) })
		for _, words := range state.words {
			b.waitFor(t, fmt.Sprintf("document.body.innerText.includes(%q)", words))
		}
		b.screenshot(t, state.name)
	}
	assert.Empty(t, b.complaints())
}

func TestPage_FitsItsScreen(t *testing.T) {
	b, s := openBrowser(t), startSite(t)
	for _, screen := range []struct {
		name          string
		width, height int64
		scheme        string
		mayScroll     bool
	}{
		{"laptop-light", 1280, 720, "light", false},
		{"laptop-dark", 1280, 720, "dark", false},
		{"wall", 1920, 1080, "dark", false},
		{"wall-4k", 3840, 2160, "light", false},
		{"tablet", 1024, 768, "light", true},
		{"phone", 390, 844, "light", true},
		{"phone-dark", 390, 844, "dark", true},
	} {
		t.Run(screen.name, func(t *testing.T) {
			b.resize(t, screen.width, screen.height, screen.scheme)
			for _, alter := range []func(Snapshot) Snapshot{troubled, func(s Snapshot) Snapshot { return s }} {
				s.show(func(at time.Time) Snapshot { return alter(madeUp(at)) })
				b.open(t, s.url())
				b.waitFor(t, isLive)
				status := string(alter(madeUp(time.Now())).Status)
				b.waitFor(t, `document.body.dataset.status == "`+status+`"`)
				b.screenshot(t, screen.name+"-"+status)
				assert.LessOrEqual(t, ask[int64](t, b, `document.documentElement.scrollWidth`), screen.width)
				if !screen.mayScroll {
					assert.LessOrEqual(t, ask[int64](t, b, `document.documentElement.scrollHeight`), screen.height)
				}
				assert.Empty(t, ask[[]string](t, b, cutOff), "text is cut off")
			}
		})
	}
	assert.Empty(t, b.complaints())
}

func TestPage_IsAccessible(t *testing.T) {
	b, s := openBrowser(t), startSite(t)
	s.show(func(at time.Time) Snapshot { return troubled(madeUp(at)) })
	for _, scheme := range []string{"light", "dark"} {
		b.resize(t, 1280, 720, scheme)
		b.open(t, s.url())
		b.waitFor(t, isLive)
		browsertest.RequireAccessible(t, b)
	}
}

// cutOff lists the texts that are wider than the box they are drawn in.
const cutOff = `[...document.querySelectorAll("p, h1, h2, h3, span, b, li, figcaption, article, section")]
	.filter(e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1).map(e => e.className + ": " + e.textContent)`
