package metrics

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestRecorder_MetricsFollowPrometheusConventions(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	r := New(lanes, "test")
	points := lane.NewPoints(lanes[0], 1)
	points.AddTrack(lane.Track{ReceivedAt: time.Now().UnixMicro()})
	points.Add(0, 0, 1, 2)
	r.Request(lanes[0], http.StatusAccepted, time.Millisecond)
	r.Accepted(lanes[0], PathQueue, 1)
	r.Rejected(lanes[0], 1)
	r.Written(points, 1, 0, 0, time.Millisecond)
	r.WriteFailed(lanes[0])

	problems, err := testutil.GatherAndLint(r.registry)
	require.NoError(t, err)
	assert.Empty(t, problems)

	response := httptest.NewRecorder()
	r.Handler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		`tracklane_http_requests_total{code="202",lane="live"} 1`,
		`tracklane_points_accepted_total{lane="live",path="queue"} 1`,
		`tracklane_points_rejected_total{lane="live"} 1`,
		`tracklane_points_written_total{lane="live"} 1`,
		`tracklane_write_errors_total{lane="live"} 1`,
		`tracklane_end_to_end_duration_seconds_count{lane="live"} 1`,
		`tracklane_build_info{version="test"} 1`,
	} {
		assert.Contains(t, response.Body.String(), line+"\n")
	}
}

func TestHistogram_QuantileIsWithinTenPercent(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	var first, second Histogram
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(50*time.Millisecond))
		all = append(all, d)
		if random.IntN(3) == 0 {
			first.observe(d, 1)
		} else {
			second.observe(d, 1)
		}
	}
	slices.Sort(all)
	first.add(second)
	for _, q := range []float64{.5, .95, .99} {
		t.Run(fmt.Sprint(q), func(t *testing.T) {
			assert.InEpsilon(t, all[int(q*float64(len(all)))], first.Quantile(q), .11)
		})
	}
	assert.Zero(t, Histogram(nil).Quantile(.5))
}

func TestWindow_StatsAreOfTheLastMinuteAndTotalsOfAllTime(t *testing.T) {
	t.Parallel()
	var w window
	start := time.Now().Truncate(slotLength)
	for second := range 120 {
		w.add(start.Add(time.Duration(second)*time.Second), func(s *slot) {
			s.written += 10
			s.batches++
			s.write.observe(time.Duration(1+second/60*9)*time.Millisecond, 1)
		})
	}
	stats := w.stats(start.Add(119 * time.Second))
	assert.Equal(t, 1200, stats.PointsWritten)
	assert.Equal(t, 120, stats.Batches)
	assert.InDelta(t, 10, stats.WrittenPerSecond, .01)
	assert.InEpsilon(t, 10*time.Millisecond, stats.Write.Quantile(.01), .11, "the first minute's 1 ms are forgotten")
	assert.Zero(t, w.stats(start.Add(10*time.Minute)).WrittenPerSecond)
}

func TestStats_Add(t *testing.T) {
	t.Parallel()
	one := Stats{PointsWritten: 1, Duplicates: 2, Batches: 3, WrittenPerSecond: 4}
	one.Write.observe(time.Millisecond, 99)
	two := Stats{PointsWritten: 10, AcceptedPerSecond: 5, Errors: 6}
	two.Write.observe(time.Second, 1)
	one.Add(two)
	assert.Equal(t, 11, one.PointsWritten)
	assert.InDelta(t, 5, one.AcceptedPerSecond, 0)
	assert.Equal(t, 6, one.Errors)
	assert.InEpsilon(t, time.Millisecond, one.Write.Quantile(.99), .11, "99 of 100 took a millisecond")
	assert.InEpsilon(t, time.Second, one.Write.Quantile(.995), .11)
}
