package load

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is how a run went.
type Report struct {
	Lane               string
	Requests           int64 // sent, and answered or given up
	Points             int64 // in those requests
	AcknowledgedPoints int64 // in requests answered 201 or 202

	// Duration is from the first request to the last answer.
	Duration time.Duration
	Latency  Latency

	// Answers counts requests by status code. Those that got no answer stand
	// under 0: whether their points were stored is not known.
	Answers map[int]int64

	// Verification is nil when none was asked for.
	Verification *Verification
}

// Latency is how long requests took to be answered.
type Latency struct {
	P50, P95, P99, Max time.Duration
}

// Verification is what the database held of a run's points.
type Verification struct {
	Took    time.Duration // from the last answer until all were stored, or the look was given up
	Stored  int64         // acknowledged points that are there
	Missing int64         // acknowledged points that are not
	Twice   int64         // rows beyond the first of a point

	// Unacknowledged counts stored points whose request was not acknowledged,
	// as when its answer was lost. They are not an error.
	Unacknowledged int64

	// Unexpected counts rows of the run's flights at a time or place that was
	// never sent.
	Unexpected int64
}

// OK says whether each acknowledged point is stored once, and nothing else is.
func (v Verification) OK() bool { return v.Missing == 0 && v.Twice == 0 && v.Unexpected == 0 }

func newReport(options Options, l *ledger, latency *hdrhistogram.Histogram, took time.Duration) Report {
	answered, acknowledged := l.counts()
	at := func(quantile float64) time.Duration {
		return time.Duration(latency.ValueAtQuantile(quantile)) * time.Microsecond
	}
	return Report{
		Lane:               options.Lane,
		Requests:           int64(answered),
		Points:             int64(answered) * int64(options.PointsPerRequest),
		AcknowledgedPoints: int64(acknowledged) * int64(options.PointsPerRequest),
		Duration:           took,
		Latency:            Latency{P50: at(50), P95: at(95), P99: at(99), Max: time.Duration(latency.Max()) * time.Microsecond},
		Answers:            maps.Clone(l.answers),
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
	for _, status := range slices.Sorted(maps.Keys(r.Answers)) {
		row(answerName(status), "%d", r.Answers[status])
	}
	if v := r.Verification; v != nil {
		row("stored", "%d\tacknowledged points, %s after the last answer", v.Stored, v.Took.Round(time.Millisecond))
		row("missing", "%d\tacknowledged but not stored", v.Missing)
		row("twice", "%d\trows too many", v.Twice)
		row("unexpected", "%d\trows that nobody sent", v.Unexpected)
		row("unacknowledged", "%d\tstored all the same", v.Unacknowledged)
	}
	_ = table.Flush() // as with any print, a closed output stops nothing
}

func answerName(status int) string {
	if status == transportError {
		return "error, no answer"
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}
