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
)

// ErrPointsWrong is returned by Run when acknowledged points are missing from
// the database, or when points are there twice or were never sent.
var ErrPointsWrong = errors.New("the stored points are not those that were acknowledged")

// ErrNothingAcknowledged is returned by Run when the server took no request.
var ErrNothingAcknowledged = errors.New("the server acknowledged no request")

const reachTimeout = 5 * time.Second

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
	if err := reach(ctx, to); err != nil {
		return Report{}, err
	}
	sent := newTraffic(formats()[into.Name], options.FlymasterSecret, rand.Uint64(), options.PointsPerRequest, time.Now())

	var check *verifier
	if options.Verify {
		if check, err = newVerifier(ctx, options.DatabaseURL, into, sent); err != nil {
			return Report{}, err
		}
		defer check.close()
	}

	ledger := newLedger(math.MaxUint64)
	if options.Requests > 0 {
		ledger.limit = uint64(options.Requests)
	}
	report, last := sendAll(ctx, options, to, sent, ledger, out)
	if check != nil {
		if ctx.Err() != nil {
			ctx = context.WithoutCancel(ctx)
		}
		timeout := options.VerifyTimeout
		if timeout == 0 {
			timeout = defaultVerifyTimeout
		}
		fmt.Fprintf(out, "verifying, for up to %s\n", timeout)
		found, err := check.verify(ctx, ledger, last, timeout)
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

// reach says early, and clearly, that there is no server.
func reach(ctx context.Context, to target) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", to.address)
	if err != nil {
		return fmt.Errorf("cannot reach %s; start the server or give its url: %w", to.url, err)
	}
	return connection.Close()
}

// sendAll runs the senders to their end and returns the report, still without
// its verification, and when the last answer came.
func sendAll(ctx context.Context, options Options, to target, sent *traffic, ledger *ledger, out io.Writer) (Report, time.Time) {
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
			client: client, url: to.url, traffic: sent, ledger: ledger,
			start: start, latency: newHistogram(), last: start,
		}
		if options.Rate > 0 {
			senders[i].interval = float64(time.Second) / options.Rate
		}
	}
	stopProgress := showProgress(out, ledger, options, start)
	var running sync.WaitGroup
	for _, s := range senders {
		running.Go(func() { s.send(ctx) })
	}
	running.Wait()
	stopProgress()

	latency, last := newHistogram(), start
	for _, s := range senders {
		latency.Merge(s.latency)
		if s.last.After(last) {
			last = s.last
		}
	}
	return newReport(options, ledger, latency, last.Sub(start)), last
}
