package asynqmon_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/asynqmon"
	"tracklane/internal/browsertest"
	"tracklane/internal/lane"
)

// browserTimeout bounds all that a test does in the browser, its start
// included.
const browserTimeout = 90 * time.Second

// browser is a headless Chromium with one empty page.
type browser struct {
	context.Context

	mu         sync.Mutex
	responding []string // the addresses that responded
	errors     []string // what the browser logged as errors
}

// openBrowser starts Chromium and ends it with t.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	b := new(browser)
	page := browsertest.Open(t, browserTimeout, chromedp.WindowSize(1280, 1250))
	b.Context = page
	require.NoError(t, chromedp.Listen(page, b.listen))
	_, err := chromedp.Call(page, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(page, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	return b
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventResponseReceived:
		b.responding = append(b.responding, e.Response.URL)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// do runs actions in the page.
func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(b, actions...))
}

// ask runs an action in the page and returns its value.
func ask[T any](t *testing.T, b *browser, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(b, action)
	require.NoError(t, err)
	return value
}

// waitFor waits until the page shows each of words.
func (b *browser) waitFor(t *testing.T, words ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		text := ask(t, b, chromedp.Evaluate[string]("document.body.innerText"))
		for _, word := range words {
			assert.Contains(c, text, word)
		}
	}, 20*time.Second, 100*time.Millisecond)
}

// screenshot keeps a picture of the page among the test's artifacts.
func (b *browser) screenshot(t *testing.T, name string) {
	t.Helper()
	picture := ask(t, b, chromedp.CaptureScreenshot())
	require.NoError(t, os.WriteFile(filepath.Join(t.ArtifactDir(), name), picture, 0o644))
}

func TestUI_ShowsWaitingTasksInTheBrowser(t *testing.T) {
	b := openBrowser(t)
	i := start(t, asynqmon.Options{})
	for _, l := range i.lanes {
		i.enqueue(t, track(l, flightOf(l), 600))
	}
	i.enqueue(t, track(i.lanes["live"], lane.TextField("flight-2"), 3))

	// Four queues.
	b.do(t, chromedp.Navigate(i.url+asynqmon.RootPath))
	b.waitFor(t, "live", "upload", "scoring", "flymaster")
	b.screenshot(t, "asynqmon-queues.png")

	// One queue's waiting tasks, then one of them.
	b.do(t, chromedp.Navigate(i.url+"/asynqmon/queues/live?status=pending"))
	b.waitFor(t, "live:batch", `"points": 600`, "flight-1")
	// The row is taller than the window, so that its middle cannot be clicked on.
	require.True(t, ask(t, b, chromedp.Evaluate[bool](
		`[...document.querySelectorAll("td")].find(cell => cell.innerText == "live:batch").click(), true`)))
	b.waitFor(t, "Task Info", "pending", `"lane": "live"`, `"points": 600`, `"first": "2026-07-14T11:00:00Z"`,
		`"last": "2026-07-14T11:09:59Z"`, `"datetime": "2026-07-14T11:00:09Z"`)
	b.screenshot(t, "asynqmon-task.png")

	// The page of a task survives a reload.
	before := ask(t, b, chromedp.Location())
	b.do(t, chromedp.Reload())
	after := ask(t, b, chromedp.Location())
	assert.Equal(t, before, after)
	assert.Contains(t, after, "/asynqmon/queues/live/tasks/")
	b.waitFor(t, "Task Info", `"points": 600`)

	// A task that waits in a group reads the same.
	grouped := i.list(t, "/asynqmon/api/queues/live/groups/7/aggregating_tasks")
	require.Len(t, grouped, 1)
	b.do(t, chromedp.Navigate(i.url+"/asynqmon/queues/live/tasks/"+grouped[0].ID))
	b.waitFor(t, "live:points", "aggregating", `"points": 3`, "flight-2")

	b.mu.Lock()
	defer b.mu.Unlock()
	require.NotEmpty(t, b.responding)
	for _, address := range b.responding {
		assert.True(t, strings.HasPrefix(address, i.url) || strings.HasPrefix(address, "data:"), address)
	}
	for _, message := range b.errors {
		assert.Contains(t, message, "https://fonts.googleapis.com")
		assert.Contains(t, message, "Content Security Policy", "the browser tried to reach another host")
	}
}
