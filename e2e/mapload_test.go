package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fly posts a point a second of each of so many pilots, whose times are those of the
// requests, until ctx ends.
func fly(ctx context.Context, url string, pilots int) (wait func()) {
	var flying sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: pilots}}
	for n := range pilots {
		flying.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(n) * time.Second / time.Duration(pilots)):
			}
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			for second := 0; ; second++ {
				body := fmt.Sprintf(`{"flight_id":"pilot-%03d","track_points":[{"datetime":%q,"lat":%.6f,"lon":%.6f,"elevation":1500}]}`,
					n, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), 46.5+float64(n%20)*.01, 7.5+float64(n/20)*.01+float64(second)*1e-5)
				response, err := client.Post(url+"/live", "application/json", strings.NewReader(body))
				if err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	return flying.Wait
}

// From the request to the frame of the browser in which its point is on the map.
func TestMap_ShowsAPointSoonAfterItsPost(t *testing.T) {
	if !*full {
		t.Skip("takes a minute of the whole machine: -full")
	}
	environment := []string{"DATABASE_URL=" + servers.Database(t), "REDIS_URL=" + servers.Redis(t).URL()}
	serve := startProcess(t, "serve", environment...)
	ctx, cancel := context.WithCancel(t.Context())
	wait := fly(ctx, serve.url, 200)
	defer func() { cancel(); wait() }()
	tab := openMap(t, serve.url+"/map", `window.latencies = []; const parse = JSON.parse;
		JSON.parse = (...all) => {
			const value = parse(...all);
			if (value?.flights && value.at) {
				const times = value.flights.flatMap(({ fixes }) => (fixes ?? []).map(([at]) => at)).filter((at) => at > window.from);
				requestAnimationFrame(() => { for (const at of times) window.latencies.push(Date.now() - at); });
			}
			return value;
		};`)
	tab.await(t, `document.querySelectorAll("#pilots tr").length == 200`, mapPatience)
	ask[bool](t, tab, "(window.from = Date.now(), true)")
	tab.await(t, "Date.now() - window.from > 60_000", 2*time.Minute)
	latencies := ask[[]float64](t, tab, "window.latencies")
	slices.Sort(latencies)
	p50, p99 := latencies[len(latencies)/2], latencies[len(latencies)*99/100]
	t.Logf("%d points: p50 %.0f ms, p99 %.0f ms, the longest %.0f ms", len(latencies), p50, p99, latencies[len(latencies)-1])
	assert.Greater(t, len(latencies), 200*50)
	assert.LessOrEqual(t, p50, 2000.)
	assert.LessOrEqual(t, p99, 4000.)
}

// viewing is many clients of the live stream, each on a connection of its own.
type viewing struct {
	cancel  func()
	clients sync.WaitGroup
	events  atomic.Int64
	lost    atomic.Int64 // streams that ended
}

func view(t *testing.T, url string, viewers int) *viewing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	v := &viewing{cancel: cancel}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	for range viewers {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/live/stream", nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		if response.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(response.Body)
			require.Equal(t, http.StatusOK, response.StatusCode, "%s", text)
		}
		v.clients.Go(func() {
			defer response.Body.Close()
			into := make([]byte, 32<<10)
			for {
				n, err := response.Body.Read(into)
				v.events.Add(int64(bytes.Count(into[:n], []byte("event: "))))
				if err != nil {
					if ctx.Err() == nil {
						v.lost.Add(1)
					}
					return
				}
			}
		})
	}
	return v
}

func (v *viewing) end() {
	v.cancel()
	v.clients.Wait()
}

// usage is what a process has used so far: seconds of a core, and bytes of memory now.
func usage(t *testing.T, pid int) (processor float64, resident int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	const user, system, pages, ticks = 11, 12, 21, 100
	for _, field := range []int{user, system} {
		value, err := strconv.ParseFloat(fields[field], 64)
		require.NoError(t, err)
		processor += value / ticks
	}
	resident, err = strconv.Atoi(fields[pages])
	require.NoError(t, err)
	return processor, resident * os.Getpagesize()
}

// throughput is how many points a second the lane live takes and the worker stores, of
// clients that send one batch after another, of flights of earlier that day.
func throughput(t *testing.T, url string, stored func() int, duration time.Duration) float64 {
	t.Helper()
	var sent atomic.Int64
	var clients sync.WaitGroup
	before, start := stored(), time.Now()
	for n := range 8 {
		clients.Go(func() {
			for batch := 0; time.Since(start) < duration; batch++ {
				var points []string
				for i := range 250 {
					at := start.UTC().Add(-20*time.Hour + time.Duration(batch*250+i)*100*time.Millisecond).Format(time.RFC3339Nano)
					points = append(points, fmt.Sprintf(`{"datetime":%q,"lat":%.6f,"lon":7.5}`, at, 46+float64(batch*250+i)*1e-6))
				}
				response, err := http.Post(url+"/live", "application/json",
					strings.NewReader(fmt.Sprintf(`{"flight_id":"bulk-%d-%d","track_points":[%s]}`, start.Unix(), n, strings.Join(points, ","))))
				if assert.NoError(t, err) && assert.Contains(t, []int{http.StatusCreated, http.StatusAccepted}, response.StatusCode) {
					sent.Add(250)
				}
				if err == nil {
					_ = response.Body.Close()
				}
			}
		})
	}
	clients.Wait()
	require.Eventually(t, func() bool { return stored()-before >= int(sent.Load()) }, time.Minute, 20*time.Millisecond)
	return float64(sent.Load()) / time.Since(start).Seconds()
}

// writtenPoints is how many points of the lane live a process has written so far.
func writtenPoints(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, `tracklane_points_written_total{lane="live"} `); found {
			points, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return int(points)
		}
	}
	require.FailNow(t, "the points written are not among the metrics")
	return 0
}

// The process of the API serves a thousand viewers while 200 pilots fly: what that takes
// of a core, whether its memory grows, and what of the lanes' throughput is left.
func TestLiveStream_ServesAThousandViewers(t *testing.T) {
	if !*full {
		t.Skip("takes a quarter of an hour of the whole machine: -full")
	}
	const pilots, viewers = 200, 1000
	database := servers.Database(t)
	environment := []string{"DATABASE_URL=" + database, "REDIS_URL=" + servers.Redis(t).URL(), "MAX_CONNECTIONS_PER_ADDRESS=3000"}
	api := startProcess(t, "api", environment...)
	worker := startProcess(t, "worker", environment...)
	// What the processes count is asked for: to count the rows would slow them down.
	stored := func() int { return writtenPoints(t, api.url) + writtenPoints(t, worker.url) }
	ctx, cancel := context.WithCancel(t.Context())
	wait := fly(ctx, api.url, pilots)
	defer func() { cancel(); wait() }()
	const rounds = 9
	var without, with, ratios []float64
	for range rounds {
		without = append(without, throughput(t, api.url, stored, 8*time.Second))
		v := view(t, api.url, viewers)
		with = append(with, throughput(t, api.url, stored, 8*time.Second))
		v.end()
		ratios = append(ratios, with[len(with)-1]/without[len(without)-1])
	}
	t.Logf("points/s without viewers %.0f, with them %.0f, of it %.2f", without, with, ratios)
	slices.Sort(ratios)

	share := func(duration time.Duration) float64 {
		before, _ := usage(t, api.PID())
		time.Sleep(duration) // what is measured is time
		after, _ := usage(t, api.PID())
		return 100 * (after - before) / duration.Seconds()
	}
	share(10 * time.Second)
	alone := share(time.Minute)
	v := view(t, api.url, viewers)
	defer v.end()
	share(time.Minute)
	events := v.events.Load()
	var shares []float64
	var memory []int
	for range 10 {
		shares = append(shares, share(time.Minute))
		_, resident := usage(t, api.PID())
		memory = append(memory, resident>>20)
	}
	t.Logf("of a core: %.1f %% with the pilots alone, %.1f %% with %d viewers; MB of memory each minute: %v; %d events a second, %d streams ended",
		alone, shares, viewers, memory, (v.events.Load()-events)/600, v.lost.Load())
	slices.Sort(shares)
	assert.LessOrEqual(t, shares[len(shares)/2]-alone, 30., "viewers take more of a core")
	assert.LessOrEqual(t, float64(memory[9]), 1.2*float64(memory[0]), "memory grows")
	assert.GreaterOrEqual(t, ratios[rounds/2], .95, "viewers slow the lanes down")
	assert.Zero(t, v.lost.Load())
}
