package metrics

import (
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

func TestMetricsKeepToPrometheusConventions(t *testing.T) {
	lanes := lane.All()
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

	answer := httptest.NewRecorder()
	r.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		`tracklane_http_requests_total{code="202",lane="live"} 1`,
		`tracklane_points_accepted_total{lane="live",path="queue"} 1`,
		`tracklane_points_rejected_total{lane="live"} 1`,
		`tracklane_points_written_total{lane="live"} 1`,
		`tracklane_write_errors_total{lane="live"} 1`,
		`tracklane_end_to_end_duration_seconds_count{lane="live"} 1`,
		`tracklane_build_info{version="test"} 1`,
	} {
		assert.Contains(t, answer.Body.String(), line+"\n")
	}
}

func TestQuantilesAreRightToWithinTenPercent(t *testing.T) {
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
		exact := float64(all[int(q*float64(len(all)))].Microseconds()) / 1000
		assert.InEpsilon(t, exact, first.Quantile(q), .11, "quantile %g", q)
	}
	assert.Zero(t, Histogram(nil).Quantile(.5))
}

func TestFiguresAreOfTheLastMinuteAndTotalsOfAllTime(t *testing.T) {
	w := newWindow()
	begun := time.Now().Truncate(slotLength)
	for second := range 120 {
		w.add(begun.Add(time.Duration(second)*time.Second), func(s *slot) {
			s.written += 10
			s.batches++
			s.write.observe(time.Duration(1+second/60*9)*time.Millisecond, 1)
		})
	}
	f := w.figures(begun.Add(119 * time.Second))
	assert.Equal(t, 1200, f.PointsWritten)
	assert.Equal(t, 120, f.Batches)
	assert.InDelta(t, 10, f.WrittenPerSecond, .01)
	assert.InEpsilon(t, 10, f.Write.Quantile(.01), .11, "the first minute's 1 ms are forgotten")
	assert.Zero(t, w.figures(begun.Add(10*time.Minute)).WrittenPerSecond)
}

func TestFiguresOfAllProcessesAreAddedUp(t *testing.T) {
	one := Figures{PointsWritten: 1, Duplicates: 2, Batches: 3, WrittenPerSecond: 4}
	one.Write.observe(time.Millisecond, 99)
	two := Figures{PointsWritten: 10, AcceptedPerSecond: 5, Errors: 6}
	two.Write.observe(time.Second, 1)
	one.Add(two)
	assert.Equal(t, 11, one.PointsWritten)
	assert.InDelta(t, 5, one.AcceptedPerSecond, 0)
	assert.Equal(t, 6, one.Errors)
	assert.InEpsilon(t, 1, one.Write.Quantile(.99), .11, "99 of 100 took a millisecond")
	assert.InEpsilon(t, 1000, one.Write.Quantile(.995), .11)
}
