package mappage

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	cdptracing "github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var full = flag.Bool("full", false, "replay as many hours of as many pilots as a day has")

// replayed is a day of many pilots, each of whom circles for some hours with a fix a
// second.
type replayed struct {
	pilots, hours int
	end           time.Time
}

func (d replayed) flights(w http.ResponseWriter, _ *http.Request) {
	var list []string
	for n := range d.pilots {
		list = append(list, fmt.Sprintf(`{"id":"f-%d","lane":"live","pilot_id":"pilot %d","last_fix":{"datetime":%q},"distance":1}`, n, n, d.end.Format(time.RFC3339)))
	}
	_, _ = fmt.Fprintf(w, `{"flights":[%s]}`, strings.Join(list, ","))
}

func (d replayed) track(w http.ResponseWriter, r *http.Request) {
	var n int
	_, _ = fmt.Sscanf(r.PathValue("id"), "f-%d", &n)
	var places, times strings.Builder
	for second := range d.hours * 3600 {
		angle := float64(second)/10 + float64(n)
		fmt.Fprintf(&places, ",[%.6f,%.6f,%.1f]", 7.5+float64(n%20)*.02+float64(second)*1e-5+math.Cos(angle)*.001,
			46.5+float64(n/20)*.02+math.Sin(angle)*.001, 1500+500*math.Sin(float64(second)/300))
		fmt.Fprintf(&times, `,"%s"`, d.end.Add(time.Duration(second-d.hours*3600)*time.Second).Format("2006-01-02T15:04:05Z"))
	}
	_, _ = fmt.Fprintf(w, `{"type":"Feature","geometry":{"type":"LineString","coordinates":[%s]},"properties":{"coordTimes":[%s]}}`,
		places.String()[1:], times.String()[1:])
}

// tracing is what Chromium says of the page's tasks.
type tracing struct {
	mu       sync.Mutex
	main     map[[2]int]bool       // the threads of pages, by process and thread
	longest  map[[2]int]traceEvent // and their longest tasks
	tasks    int
	complete chan struct{}
}

// traceEvent is an event of a trace; times are in µs, and ThreadTime is without that for
// which the machine did something else.
type traceEvent struct {
	Name       string  `json:"name"`
	Phase      string  `json:"ph"`
	Process    int     `json:"pid"`
	Thread     int     `json:"tid"`
	Time       float64 `json:"dur"`
	ThreadTime float64 `json:"tdur"`
	Arguments  struct {
		Name any `json:"name"`
	} `json:"args"`
}

// trace begins to trace a tab's tasks; what it returns ends that, and returns the longest
// task and how many there were.
func (b *browser) trace(t *testing.T) (end func() (longest traceEvent, tasks int)) {
	t.Helper()
	tr := &tracing{main: make(map[[2]int]bool), longest: make(map[[2]int]traceEvent), complete: make(chan struct{})}
	listening, stop := context.WithCancel(b.Context)
	require.NoError(t, chromedp.Listen(listening, tr.take))
	_, err := chromedp.Call(b, cdptracing.Start, cdptracing.StartParams{TraceConfig: &cdptracing.TraceConfig{
		IncludedCategories: []string{"disabled-by-default-devtools.timeline"}, ExcludedCategories: []string{"*"},
	}})
	require.NoError(t, err)
	return func() (traceEvent, int) {
		defer stop()
		_, err := chromedp.Call(b, cdptracing.End, cdp.Empty{})
		require.NoError(t, err)
		select {
		case <-tr.complete:
		case <-b.Done():
			require.NoError(t, b.Err())
		}
		tr.mu.Lock()
		defer tr.mu.Unlock()
		var longest traceEvent
		for thread, task := range tr.longest {
			if tr.main[thread] && task.ThreadTime > longest.ThreadTime {
				longest = task
			}
		}
		return longest, tr.tasks
	}
}

func (tr *tracing) take(event any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch e := event.(type) {
	case *cdptracing.EventDataCollected:
		for _, text := range e.Value {
			var event traceEvent
			if json.Unmarshal(text, &event) != nil {
				continue
			}
			thread := [2]int{event.Process, event.Thread}
			if event.Name == "thread_name" && event.Arguments.Name == "CrRendererMain" {
				tr.main[thread] = true
			}
			if event.Name == "RunTask" && event.Phase == "X" {
				tr.tasks++
				if event.ThreadTime > tr.longest[thread].ThreadTime {
					tr.longest[thread] = event
				}
			}
		}
	case *cdptracing.EventTracingComplete:
		close(tr.complete)
	}
}

// The day is loaded, played, and moved through by hand: no task of the page is so long
// that a frame of it would be late.
func TestReplay_MovesSmoothly(t *testing.T) {
	day := replayed{pilots: 20, hours: 1, end: time.Now().UTC().Truncate(time.Second)}
	playing, steps := time.Second, 10
	if *full {
		day.pilots, day.hours, playing, steps = 200, 3, 30*time.Second, 100
	}
	s := site{address: "127.0.0.1:0", day: &day}
	s.start(t)
	b := openBrowser(t, 1920, 1080, "light")
	require.NoError(t, chromedp.Do(b, chromedp.Navigate("http://"+s.address+"/map")))
	b.waitFor(t, `document.getElementById("connection").textContent == "live"`)
	for _, part := range []struct {
		name, begin, ends string
	}{
		{"loading", `document.getElementById("replay").click()`, `!document.getElementById("slide").hidden && document.querySelectorAll("#pilots tr").length == ` + fmt.Sprint(day.pilots)},
		{"playing", `document.getElementById("play").click(), window.begun = Date.now()`, fmt.Sprintf("Date.now() - window.begun > %d", playing.Milliseconds())},
		{"moving", fmt.Sprintf(`document.getElementById("play").click(), window.step = 0, window.mover = setInterval(() => {
			const slider = document.getElementById("slider");
			slider.value = Number(slider.min) + (Number(slider.max) - Number(slider.min)) * window.step++ / %d;
			slider.dispatchEvent(new Event("input"));
			if (window.step >= %[1]d) clearInterval(window.mover);
		}, 100)`, steps), fmt.Sprintf("window.step >= %d", steps)},
	} {
		end := b.trace(t)
		_, err := chromedp.Run(b, chromedp.Evaluate[any]("("+part.begin+", null)"))
		require.NoError(t, err)
		b.waitWithin(t, part.ends, 3*time.Minute)
		longest, tasks := end()
		t.Logf("%s: the longest of %d tasks took %.1f ms of a processor, in %.1f ms", part.name, tasks, longest.ThreadTime/1000, longest.Time/1000)
		assert.Positive(t, longest.ThreadTime)
		if *full {
			assert.Less(t, longest.ThreadTime/1000, 50., part.name)
		}
	}
	b.screenshot(t, "replay")
	assert.Empty(t, b.complaints())
}
