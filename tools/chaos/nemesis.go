package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tracklane/internal/clock"
)

// incident is a fault that was injected.
type incident struct {
	fault
	start, ended time.Duration // since the start of the traffic; ended is 0 until then
	note         string
	failure      error // of the injection, or of the target's recovery
}

func (i incident) String() string {
	text := fmt.Sprintf("%s of %s from %s to %s", i.Kind, i.Target,
		i.start.Round(time.Millisecond), i.ended.Round(time.Millisecond))
	if i.ended == 0 {
		text = fmt.Sprintf("%s of %s since %s", i.Kind, i.Target, i.start.Round(time.Millisecond))
	}
	if i.note != "" {
		text += " (" + i.note + ")"
	}
	return text
}

// overlaps reports whether an incident was under way between two times.
func (i incident) overlaps(from, to time.Duration) bool {
	return i.start <= to && (i.ended == 0 || i.ended >= from)
}

// nemesis carries out a plan. Its incidents may be asked for at any time.
type nemesis struct {
	testbed *testbed
	bursts  *bursts
	start   time.Time

	mu        sync.Mutex
	incidents []incident
	targets   map[string]*sync.Mutex
}

// run injects the plan's faults, each at its time, and returns when all are
// over and what they struck runs again. When ctx ends it gives up. What this
// machine does not allow is left out.
func (n *nemesis) run(ctx context.Context, plan []fault, failed func(error)) {
	var under sync.WaitGroup
	defer under.Wait()
	for _, f := range plan {
		if n.testbed.disk == nil && (f.Kind == redisDiskFull || f.Kind == redisDiskStall) {
			continue
		}
		if !clock.Sleep(ctx, time.Until(n.start.Add(f.At))) {
			return
		}
		under.Go(func() {
			defer reportPanic(failed)
			n.inject(ctx, f)
		})
	}
}

// inject does one fault and notes it, once the faults before it that strike the
// same are over: one may take longer than was planned, as a failover does.
func (n *nemesis) inject(ctx context.Context, f fault) {
	for _, struck := range slices.Sorted(slices.Values(f.Strikes)) {
		target := n.targetLock(struck)
		target.Lock()
		defer target.Unlock()
	}
	if ctx.Err() != nil {
		return
	}
	n.mu.Lock()
	number := len(n.incidents)
	n.incidents = append(n.incidents, incident{fault: f, start: time.Since(n.start)})
	n.mu.Unlock()

	note, err := n.apply(ctx, f)

	n.mu.Lock()
	defer n.mu.Unlock()
	at := &n.incidents[number]
	at.ended, at.note = time.Since(n.start), note
	if ctx.Err() == nil {
		at.failure = err
	}
}

// targetLock is held while a fault strikes a target.
func (n *nemesis) targetLock(target string) *sync.Mutex {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.targets == nil {
		n.targets = make(map[string]*sync.Mutex)
	}
	if n.targets[target] == nil {
		n.targets[target] = new(sync.Mutex)
	}
	return n.targets[target]
}

// apply does what a fault is, for as long as it lasts, and undoes it.
func (n *nemesis) apply(ctx context.Context, f fault) (note string, err error) {
	tb := n.testbed
	over := time.Now().Add(f.Lasts)
	lasting := func() { clock.Sleep(ctx, time.Until(over)) }
	if f.Target == redisName && tb.Cluster != nil {
		return tb.strikeCluster(ctx, f, over)
	}
	switch f.Kind {
	case kill:
		return n.kill(ctx, f, over)
	case terminate:
		return "", n.terminate(ctx, f, over)
	case pause:
		return "", pauseTarget(tb.target(f.Target), lasting)
	case crash:
		err := tb.crashBackend(ctx)
		lasting()
		return "", err
	case redisFull:
		if err := tb.fillRedis(ctx); err != nil {
			return "", err
		}
		lasting()
		return "", tb.emptyRedis(ctx)
	case noConnections:
		ctx, cancel := context.WithDeadline(ctx, over)
		defer cancel()
		return "", tb.occupyConnections(ctx)
	case diskFull, diskSlow:
		err := tb.injectDBFault(ctx, f.Kind, f.Lasts)
		lasting()
		return "", err
	case redisDiskFull:
		return tb.fillRedisDisk(ctx, over)
	case redisDiskStall:
		return tb.stallRedisDisk(ctx, f.Lasts)
	case redisFailover:
		return tb.failOverRedis(ctx, f.Lasts)
	case postgresFailover:
		return tb.failOverPostgres(ctx, f.Lasts)
	case stopInOutage:
		return tb.stopDuringOutage(ctx, tb.target(f.Target), over)
	case buttons:
		return tb.pressButtons(ctx, tb.apis()[f.draw()%len(apiNames)].url, over)
	case wrongTime:
		return tb.shiftClocks(ctx, clockOffsets[f.draw()%len(clockOffsets)], over)
	case largeUploads, refusals:
		n.bursts.start(f.Kind, over)
		lasting()
		return "", nil
	case firstMigration:
		lasting()
		return "", tb.migrateUnderLoad(ctx)
	default:
		c, note := conditionsFor(f)
		tb.proxies[f.Target].set(c)
		lasting()
		tb.proxies[f.Target].set(conditions{})
		return note, nil
	}
}

// pauseTarget suspends a target while lasting returns.
func pauseTarget(target target, lasting func()) error {
	err := target.Pause()
	lasting()
	return errors.Join(err, target.Resume())
}

// clockOffsets are by how much clocks are wrong.
var clockOffsets = []time.Duration{10 * time.Minute, -10 * time.Minute}

// draw is a number that follows from the plan.
func (f fault) draw() int { return int(f.Lasts / time.Millisecond) }

// kill ends a target at once and starts it again when the fault is over.
func (n *nemesis) kill(ctx context.Context, f fault, over time.Time) (note string, err error) {
	if f.Target == redisName {
		note = n.testbed.unwritten(ctx)
	}
	target := n.testbed.target(f.Target)
	if err := target.Kill(); err != nil {
		return note, err
	}
	note = fmt.Sprintf("dead at %s %s", time.Since(n.start).Round(time.Millisecond), note)
	clock.Sleep(ctx, time.Until(over))
	return note, restart(ctx, target)
}

// terminate ends a target in order and starts it again when the fault is over.
func (n *nemesis) terminate(ctx context.Context, f fault, over time.Time) (err error) {
	target := n.testbed.target(f.Target)
	if f.Target == postgresName {
		err = n.testbed.smartShutdown()
		clock.Sleep(ctx, time.Until(over))
		err = errors.Join(err, target.Stop(ctx))
	} else {
		err = target.Stop(ctx)
		clock.Sleep(ctx, time.Until(over))
	}
	return errors.Join(err, restart(ctx, target))
}

// restart starts a target again, unless the run is given up.
func restart(ctx context.Context, t target) error {
	if ctx.Err() != nil {
		return nil
	}
	return t.Restart(ctx)
}

// conditionsFor is what a fault does to a proxy's connections. How bad it is
// follows from how long the plan lets it last.
func conditionsFor(f fault) (c conditions, note string) {
	draw := f.draw()
	switch f.Kind {
	case cut:
		return conditions{Cut: true}, ""
	case delay:
		c.Delay = time.Duration(20+draw%800) * time.Millisecond
		return c, c.Delay.String()
	case throttle:
		c.BytesPerSecond = 2_000 + draw%40_000
		return c, fmt.Sprintf("%d bytes/s", c.BytesPerSecond)
	case mute:
		return conditions{HoldToClient: true}, ""
	default:
		return conditions{HoldToServer: true, HoldToClient: true}, ""
	}
}

// all returns the incidents so far.
func (n *nemesis) all() []incident {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.incidents)
}

// during lists the incidents that were under way between two times.
func during(all []incident, from, to time.Duration) []incident {
	var found []incident
	for _, i := range all {
		if i.overlaps(from, to) {
			found = append(found, i)
		}
	}
	return found
}

// reportPanic turns a goroutine's panic into a failure of the run, so that what
// the run has started is stopped.
func reportPanic(failed func(error)) {
	if cause := recover(); cause != nil {
		failed(fmt.Errorf("the harness failed: %v", cause))
	}
}
