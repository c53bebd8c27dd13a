package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"tracklane/internal/lane"
)

// ErrPointsWrong is returned by Run when acknowledged points are missing from
// the database, or when points are there twice or were never sent.
var ErrPointsWrong = errors.New("the stored points are not those that were acknowledged")

// ErrNothingAcknowledged is returned by Run when the server acknowledged no
// request.
var ErrNothingAcknowledged = errors.New("the server acknowledged no request")

const checkReachableTimeout = 5 * time.Second

// Run sends the load that options describe and writes progress and the report
// to out, which it also returns.
//
// Cancelling ctx ends the sending; requests on their way are waited for, for
// at most 15 s, and what was acknowledged is reported and verified as usual.
// So that a second Ctrl-C ends the program, stop catching the signal once ctx
// is done.
//
// The error is ErrPointsWrong or ErrNothingAcknowledged when there is a report
// but a bad one; any other error says what could not be done.
func Run(ctx context.Context, options Options, out io.Writer) (Report, error) {
	if err := options.validate(); err != nil {
		return Report{}, err
	}
	into, err := options.lane()
	if err != nil {
		return Report{}, err
	}
	to, err := options.target()
	if err != nil {
		return Report{}, err
	}
	if err := checkReachable(ctx, to); err != nil {
		return Report{}, err
	}
	h := newHistory(math.MaxUint64)
	if options.Requests > 0 {
		h.limit = uint64(options.Requests)
	}
	r := &run{
		lane: into, history: h,
		workload: newWorkload(into.Name, options.FlymasterSecret, rand.Uint64(), options.PointsPerRequest, time.Now()),
	}
	var check *verifier
	if options.Verify {
		if check, err = newVerifier(ctx, options.DatabaseURL, r); err != nil {
			return Report{}, err
		}
		defer check.close()
	}
	report := r.send(ctx, options, to, out)
	if check != nil {
		if ctx.Err() != nil {
			ctx = context.WithoutCancel(ctx)
		}
		timeout := options.VerifyTimeout
		if timeout == 0 {
			timeout = defaultVerifyTimeout
		}
		fmt.Fprintf(out, "verifying, for up to %s\n", timeout)
		found, err := check.verify(ctx, timeout)
		if err != nil {
			report.print(out)
			return report, err
		}
		report.Verification = &found
	}
	report.print(out)
	switch {
	case report.Verification != nil && !report.Verification.OK():
		return report, ErrPointsWrong
	case report.AcknowledgedPoints == 0:
		return report, ErrNothingAcknowledged
	}
	return report, nil
}

// run is what was sent, as far as it must be known to verify it.
type run struct {
	lane     *lane.Lane
	workload *workload
	history  *history
	last     time.Time // of the last response
}

// checkReachable returns early, with an error that says so, when there is no
// server.
func checkReachable(ctx context.Context, to target) error {
	ctx, cancel := context.WithTimeout(ctx, checkReachableTimeout)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", to.address)
	if err != nil {
		return fmt.Errorf("cannot reach %s; start the server or give its url: %w", to.url, err)
	}
	return connection.Close()
}

// send runs the senders to their end and returns the report, without its
// verification.
func (r *run) send(ctx context.Context, options Options, to target, out io.Writer) Report {
	if options.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, options.Duration)
		defer cancel()
	}
	client := newClient(to, options.Connections)
	defer client.CloseIdleConnections()
	senders := make([]*sender, options.Connections)
	start := time.Now()
	for i := range senders {
		senders[i] = &sender{
			client: client, url: to.url, token: options.Token, workload: r.workload, history: r.history,
			start: start, latency: newHistogram(), last: start,
		}
		if options.Rate > 0 {
			senders[i].interval = float64(time.Second) / options.Rate
		}
	}
	stopProgress := showProgress(out, r.history, options, start)
	var running sync.WaitGroup
	for _, s := range senders {
		running.Go(func() { s.send(ctx) })
	}
	running.Wait()
	stopProgress()

	latency := newHistogram()
	r.last = start
	for _, s := range senders {
		latency.Merge(s.latency)
		if s.last.After(r.last) {
			r.last = s.last
		}
	}
	return newReport(options, r, latency, r.last.Sub(start))
}
