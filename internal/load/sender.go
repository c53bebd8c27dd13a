package load

import (
	"context"
	"net/http"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"tracklane/internal/clock"
)

const (
	// requestTimeout is how long a request waits for its response.
	requestTimeout = 15 * time.Second

	// errorPause keeps a connection from spending its requests on a server
	// that is not there.
	errorPause = 50 * time.Millisecond
)

func newClient(to target, connections int) *fasthttp.HostClient {
	return &fasthttp.HostClient{
		Addr:          to.address,
		IsTLS:         to.secure,
		MaxConns:      connections,
		DialDualStack: true,
		// An error is counted, not papered over.
		MaxIdemponentCallAttempts: 1,
	}
}

// sender is one connection's worth of load.
type sender struct {
	client   *fasthttp.HostClient
	url      string
	token    string // empty = none
	workload *workload
	history  *history

	start    time.Time
	interval float64 // nanoseconds between requests of all senders; 0: none

	latency *hdrhistogram.Histogram // microseconds
	last    time.Time               // of the last response
}

// send sends one request after another until the history hands out no more or ctx is
// done. The request on its way then is still waited for.
func (s *sender) send(ctx context.Context) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(s.url)
	request.Header.SetMethod(http.MethodPost)
	request.Header.SetContentType(s.workload.format.ContentType)
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}

	var body []byte
	for ctx.Err() == nil {
		number, ok := s.history.next()
		if !ok {
			return
		}
		body = s.workload.appendBody(body[:0], number)
		request.SetBodyRaw(body)
		due := time.Now()
		if s.interval > 0 {
			due = s.start.Add(time.Duration(float64(number) * s.interval))
			// The timer of a context fires late on a busy machine; a request that is
			// due after the end of the run is none of it all the same.
			if end, bounded := ctx.Deadline(); bounded && due.After(end) {
				return
			}
			if wait := time.Until(due); wait > 0 {
				if !clock.Sleep(ctx, wait) {
					return
				}
				// A free connection is not why the request goes late: Go's
				// timers are, by 0.55 ms in the median on Linux.
				due = time.Now()
			}
		}
		status := transportError
		err := s.client.DoTimeout(request, response, requestTimeout)
		if err == nil {
			status = response.StatusCode()
		}
		s.last = time.Now()
		_ = s.latency.RecordValue(min(s.last.Sub(due).Microseconds(), s.latency.HighestTrackableValue()))
		s.history.record(number, status)
		if err != nil {
			clock.Sleep(ctx, errorPause)
		}
	}
}

// newHistogram holds latencies from a microsecond to an hour, to three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 3)
}
