// Package metrics counts what happens to points, for Prometheus and for the
// stats that the processes of one installation share through Redis.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tracklane/internal/lane"
)

// Recorder counts, by the lane's name. Its methods panic for a lane that it was
// not made for. Any number of goroutines may use one at the same time.
type Recorder struct {
	registry *prometheus.Registry
	lanes    map[string]*laneRecorder // by the lane's name

	trackerRejected, distress *prometheus.CounterVec // by app

	calls distressCalls
}

// Path is the way on which acknowledged points go into the database. It is the
// value of the label path.
type Path string

// The paths that points can take.
const (
	PathQueue  Path = "queue"  // through a queue in Redis
	PathDirect Path = "direct" // written by the API itself, bypassing Redis
)

// laneRecorder holds one lane's metrics, so that counting looks nothing up.
type laneRecorder struct {
	requests *prometheus.CounterVec // by code
	seconds  prometheus.Observer

	accepted   map[Path]prometheus.Counter
	rejected   prometheus.Counter
	written    prometheus.Counter
	duplicates prometheus.Counter
	refused    prometheus.Counter
	failures   prometheus.Counter

	batchPoints, batchSeconds, endToEnd prometheus.Observer

	window window
}

// secondsBuckets spans a millisecond to a minute.
var secondsBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// New returns a recorder for lanes, with metrics of the Go runtime and the
// process besides its own.
func New(lanes []*lane.Lane, version string) *Recorder {
	r := &Recorder{
		registry: prometheus.NewRegistry(),
		lanes:    make(map[string]*laneRecorder),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tracklane_build_info", Help: "Always 1; the label is the version that runs.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.registry.MustRegister(info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tracklane_http_requests_total", Help: "Requests to the lanes, by the status of the response.",
	}, []string{"lane", "code"})
	seconds := histogram("tracklane_http_request_duration_seconds",
		"From a request's header to the end of its response.", secondsBuckets)
	accepted := counter("tracklane_points_accepted_total",
		"Points acknowledged: queued in Redis, or written directly, bypassing it.", "lane", "path")
	rejected := counter("tracklane_points_rejected_total",
		"Points left out of a request because they cannot be right.", "lane")
	written := counter("tracklane_points_written_total", "Points new in their table.", "lane")
	duplicates := counter("tracklane_points_duplicate_total", "Points that were in their table already.", "lane")
	refused := counter("tracklane_points_refused_total",
		"Points that the database refused and that are kept in rejected_points.", "lane")
	failures := counter("tracklane_write_errors_total",
		"Writes to the database that failed; what they held is written again.", "lane")
	batchPoints := histogram("tracklane_batch_points", "Points written at once.",
		[]float64{1, 10, 50, 100, 250, 500, 750, 1000, 2000, 5000, 10000})
	batchSeconds := histogram("tracklane_batch_write_duration_seconds",
		"From a batch's first statement to its commit.", secondsBuckets)
	endToEnd := histogram("tracklane_end_to_end_duration_seconds",
		"From the acceptance of a request's points to their commit.", secondsBuckets)
	r.registry.MustRegister(requests, seconds, accepted, rejected, written, duplicates, refused, failures,
		batchPoints, batchSeconds, endToEnd)

	r.trackerRejected = counter("tracklane_tracker_rejected_total",
		"Positions and messages of phones' apps that can never be stored.", "app")
	r.distress = counter("tracklane_sos_total", "Messages of pilots in distress.", "app")
	r.registry.MustRegister(r.trackerRejected, r.distress)

	for _, l := range lanes {
		r.lanes[l.Name] = &laneRecorder{
			requests: requests.MustCurryWith(prometheus.Labels{"lane": l.Name}),
			seconds:  seconds.WithLabelValues(l.Name),
			accepted: map[Path]prometheus.Counter{
				PathQueue:  accepted.WithLabelValues(l.Name, string(PathQueue)),
				PathDirect: accepted.WithLabelValues(l.Name, string(PathDirect)),
			},
			rejected:     rejected.WithLabelValues(l.Name),
			written:      written.WithLabelValues(l.Name),
			duplicates:   duplicates.WithLabelValues(l.Name),
			refused:      refused.WithLabelValues(l.Name),
			failures:     failures.WithLabelValues(l.Name),
			batchPoints:  batchPoints.WithLabelValues(l.Name),
			batchSeconds: batchSeconds.WithLabelValues(l.Name),
			endToEnd:     endToEnd.WithLabelValues(l.Name),
		}
	}
	return r
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets},
		[]string{"lane"})
}

// Register adds a collector whose metrics are read at each scrape. It panics
// when one of their names is registered already.
func (r *Recorder) Register(c prometheus.Collector) { r.registry.MustRegister(c) }

// Handler serves the metrics to Prometheus.
func (r *Recorder) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{Registry: r.registry})
}

// Request counts a request to a lane and the status of its response.
func (r *Recorder) Request(l *lane.Lane, code int, took time.Duration) {
	lr := r.lanes[l.Name]
	lr.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	lr.seconds.Observe(took.Seconds())
}

// Accepted counts points that were acknowledged.
func (r *Recorder) Accepted(l *lane.Lane, path Path, points int) {
	r.lanes[l.Name].accepted[path].Add(float64(points))
	r.lanes[l.Name].window.add(time.Now(), func(s *slot) { s.accepted += points })
}

// Rejected counts points that were left out of a request.
func (r *Recorder) Rejected(l *lane.Lane, points int) {
	r.lanes[l.Name].rejected.Add(float64(points))
}

// TrackerRejected counts what an app sent that can never be stored.
func (r *Recorder) TrackerRejected(app string, n int) {
	r.trackerRejected.WithLabelValues(app).Add(float64(n))
}

// Written counts a batch that was committed. points is what the database was
// given, before duplicates were dropped.
func (r *Recorder) Written(points *lane.Points, inserted, duplicates, refused int, took time.Duration) {
	lr, now := r.lanes[points.Lane.Name], time.Now()
	lr.written.Add(float64(inserted))
	lr.duplicates.Add(float64(duplicates))
	lr.refused.Add(float64(refused))
	lr.batchPoints.Observe(float64(inserted + duplicates + refused))
	lr.batchSeconds.Observe(took.Seconds())

	perTrack := make([]int, len(points.Tracks))
	for i := range points.Rows {
		perTrack[points.Rows[i].TrackIndex]++
	}
	lr.window.add(now, func(s *slot) {
		s.written += inserted
		s.duplicates += duplicates
		s.batches++
		s.write.observe(took, 1)
		for i := range points.Tracks {
			if perTrack[i] > 0 {
				age := now.Sub(lane.TimeOf(points.Tracks[i].ReceivedAt))
				s.endToEnd.observe(age, perTrack[i])
				lr.endToEnd.Observe(age.Seconds())
			}
		}
	})
}

// WriteFailed counts a write to the database that failed as a whole.
func (r *Recorder) WriteFailed(l *lane.Lane) {
	r.lanes[l.Name].failures.Inc()
	r.lanes[l.Name].window.add(time.Now(), func(s *slot) { s.errors++ })
}
