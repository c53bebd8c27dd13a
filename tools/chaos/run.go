package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"tracklane/internal/clock"
	"tracklane/tools/harness"
)

// options say how long a run is and what happens in it.
type options struct {
	seed     uint64
	duration time.Duration // of traffic and faults
	progress io.Writer     // gets a line now and then

	// appendSync is Redis's appendfsync. With "everysec" a Redis that is killed
	// while its disk is still busy with the sync before loses what it held back
	// meanwhile, though it has acknowledged it; with "always" it does not.
	appendSync string

	// cluster lets Redis be a cluster of three masters with a replica each.
	cluster bool
}

// faultSpecs are the faults that may come.
func (o options) faultSpecs() []faultSpec {
	if o.cluster {
		return clusterFaultSpecs()
	}
	return faultSpecs()
}

const (
	// finishTimeout is how long clients may take to get their last requests
	// acknowledged once all faults are over.
	finishTimeout = time.Minute

	// settleTimeout is how long the harness waits after that for acknowledged
	// points to reach their tables. What a crashed worker had in hand comes back
	// within a minute, so a run that needs all of it is not good.
	settleTimeout = 2 * time.Minute

	progressInterval = 15 * time.Second
)

// outcome is all that a run found out.
type outcome struct {
	options    options
	machine    harness.Machine
	start      time.Time
	traffic    time.Duration // from the first request to the last
	settled    time.Duration // from the last acknowledgement until all was stored
	isSettled  bool
	incidents  []incident
	totals     totals
	responses  *responses
	comparison comparison
	dir        string // kept when something was wrong
	noDisk     error  // why Redis had no disk of its own, if it had none
}

// run does a whole run. The error says that it could not be carried out; what
// it found wrong with tracklane is in the outcome. The run's directory is kept in
// both cases, and removed else.
func run(ctx context.Context, o options) (found outcome, err error) {
	logging.Disable() // go-redis returns each failure to its caller, too
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	tb, err := openTestbed(ctx, o, fail)
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the harness failed: %v\n%s", cause, debug.Stack())
		}
		err = errors.Join(err, tb.close())
		if err != nil {
			err = fmt.Errorf("%w; see %s", err, tb.Dir)
		} else if len(found.violations()) == 0 {
			err = tb.Remove()
		}
	}()
	found = outcome{options: o, dir: tb.Dir, noDisk: tb.noDisk, responses: &responses{byStatus: make(map[int]int)}}
	history := newHistory(makeStreams(), time.Now())
	found.start = history.start
	checker := newDBChecker(tb.database, history)
	found.injectFaults(ctx, tb, history, checker, fail)
	if ctx.Err() != nil {
		return found, fmt.Errorf("the run ended early: %w", context.Cause(ctx))
	}
	if found.comparison, err = checker.compare(ctx); err != nil {
		return found, err
	}
	if found.machine, err = tb.ThisMachine(ctx, tb.database); err != nil {
		return found, err
	}
	found.totals = history.totals(found.mended)
	return found, found.comparison.countTasks(tb.queues)
}

// injectFaults lets the clients send while the nemesis works, and returns when
// every acknowledged point is stored, or settleTimeout is over. Nothing outlives
// it, whatever happens.
func (o *outcome) injectFaults(
	ctx context.Context, tb *testbed, history *history, checker *dbChecker, fail context.CancelCauseFunc,
) {
	bursts := newBursts(history.streams)
	nemesis := &nemesis{testbed: tb, bursts: bursts, start: history.start}
	var clients, background sync.WaitGroup
	sending, stopSending := context.WithCancel(ctx)
	finishing, giveUp := context.WithCancel(ctx)
	stopped := make(chan struct{})
	defer background.Wait()
	defer clients.Wait()
	defer func() { stopSending(); giveUp() }()

	numbers := make(map[kind]int) // of the streams that follow a fault
	for _, stream := range history.streams {
		client := newClient(stream, history, o.responses, tb.apis())
		send := func() { client.run(finishing, sending) }
		if k := stream.during; k != "" {
			burst := bursts.of(k, numbers[k])
			numbers[k]++
			send = func() { client.runDuring(finishing, sending, burst) }
		}
		clients.Go(func() {
			defer reportPanic(fail)
			send()
		})
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	background.Go(func() {
		defer reportPanic(fail)
		o.isSettled = checker.watch(watching, stopped)
		stopWatching()
	})
	background.Go(func() { reportProgress(watching, o.options.progress, history, nemesis) })

	nemesis.run(ctx, makePlan(o.options.seed, o.options.duration, o.options.faultSpecs()), fail)
	clock.Sleep(ctx, time.Until(history.start.Add(o.options.duration)))
	stopSending()
	timer := time.AfterFunc(finishTimeout, giveUp)
	defer timer.Stop()
	clients.Wait()
	last := time.Now()
	history.finish(last)
	o.traffic = last.Sub(history.start)
	o.incidents = nemesis.all()

	close(stopped)
	limit := time.AfterFunc(settleTimeout, stopWatching)
	defer limit.Stop()
	background.Wait()
	o.settled = time.Since(last)
}

// reportProgress writes a line now and then until ctx ends.
func reportProgress(ctx context.Context, to io.Writer, h *history, n *nemesis) {
	for clock.Sleep(ctx, progressInterval) {
		t := h.totals(nil)
		now := time.Since(h.start)
		all := n.all()
		fmt.Fprintf(to, "%s: %d points acknowledged, %d requests not seen yet, longest wait %s, longest gap %s, %d faults\n",
			now.Round(time.Second), t.points, h.unseenCount(), t.longest.time.Round(time.Millisecond),
			t.longestAckGap.Round(time.Millisecond), len(all))
		for _, incident := range during(all, now, now) {
			fmt.Fprintf(to, "    %s\n", incident)
		}
	}
}
