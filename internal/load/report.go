package load

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tracklane/internal/checker"
)

// Report is how a run went.
type Report struct {
	Lane               string
	Requests           int64 // that got a response or failed
	Points             int64 // in those requests
	AcknowledgedPoints int64 // in requests with a response 201 or 202

	// Duration is from the first request to the last response.
	Duration time.Duration
	Latency  Latency

	// Responses counts requests by status code. Those that got no response stand
	// under 0: whether their points were stored is not known.
	Responses map[int]int64

	// Verification is nil when none was asked for.
	Verification *Verification

	run *run // which Verify compares
}

// Verify compares the run's points with the lane's table in a database, as Run
// does when options ask for it, for up to timeout. It returns an error only if
// the table cannot be read: what is wrong with the points is in the Verification.
func (r Report) Verify(ctx context.Context, databaseURL string, timeout time.Duration) (Verification, error) {
	check, err := newVerifier(ctx, databaseURL, r.run)
	if err != nil {
		return Verification{}, err
	}
	defer check.close()
	return check.verify(ctx, timeout)
}

// Latency is how long requests took to their response.
type Latency struct {
	P50, P95, P99, Max time.Duration
}

// Verification is what the database held of a run's points.
type Verification struct {
	Took           time.Duration // from the last response until all were stored, or the timeout
	checker.Result               // unexpected are rows of the run's flights at a time or place that was never sent
}

func newReport(options Options, r *run, latency *hdrhistogram.Histogram, took time.Duration) Report {
	done, acknowledged := r.history.counts()
	at := func(quantile float64) time.Duration {
		return time.Duration(latency.ValueAtQuantile(quantile)) * time.Microsecond
	}
	return Report{
		Lane:               options.Lane,
		Requests:           int64(done),
		Points:             int64(done) * int64(options.PointsPerRequest),
		AcknowledgedPoints: int64(acknowledged) * int64(options.PointsPerRequest),
		Duration:           took,
		Latency:            Latency{P50: at(50), P95: at(95), P99: at(99), Max: time.Duration(latency.Max()) * time.Microsecond},
		Responses:          r.history.byStatus(),
		run:                r,
	}
}

// RequestsPerSecond is over the whole Duration.
func (r Report) RequestsPerSecond() float64 { return perSecond(r.Requests, r.Duration) }

// PointsPerSecond counts acknowledged points, over the whole Duration.
func (r Report) PointsPerSecond() float64 { return perSecond(r.AcknowledgedPoints, r.Duration) }

func perSecond(count int64, duration time.Duration) float64 {
	if duration <= 0 {
		return 0
	}
	return float64(count) / duration.Seconds()
}

func (r Report) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(table, name+"\t"+format+"\n", values...)
	}
	row("lane", "%s", r.Lane)
	row("duration", "%s", r.Duration.Round(time.Millisecond))
	row("requests", "%d\t%.0f/s", r.Requests, r.RequestsPerSecond())
	row("points", "%d", r.Points)
	row("acknowledged points", "%d\t%.0f/s", r.AcknowledgedPoints, r.PointsPerSecond())
	row("latency p50", "%s", r.Latency.P50)
	row("latency p95", "%s", r.Latency.P95)
	row("latency p99", "%s", r.Latency.P99)
	row("latency max", "%s", r.Latency.Max)
	for _, status := range slices.Sorted(maps.Keys(r.Responses)) {
		row(statusName(status), "%d", r.Responses[status])
	}
	if v := r.Verification; v != nil {
		row("stored", "%d\tacknowledged points, %s after the last response", v.Stored, v.Took.Round(time.Millisecond))
		row("missing", "%d\tacknowledged but not stored", v.Missing)
		row("duplicates", "%d\trows too many", v.Duplicates)
		row("unexpected", "%d\trows that nobody sent", v.Unexpected)
		row("unacknowledged", "%d\tstored all the same", v.Unacknowledged)
	}
	_ = table.Flush() // as with any print, a closed output stops nothing
}

func statusName(status int) string {
	if status == transportError {
		return "error, no response"
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}
