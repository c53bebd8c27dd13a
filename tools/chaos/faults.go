package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// incident is a fault that was injected.
type incident struct {
	fault
	begun, ended time.Duration // since the start of the traffic; ended is 0 until then
	note         string
	failure      error // of the injection, or of the target's recovery
}

func (i incident) String() string {
	text := fmt.Sprintf("%s of %s from %s to %s", i.Kind, i.Target,
		i.begun.Round(time.Millisecond), i.ended.Round(time.Millisecond))
	if i.ended == 0 {
		text = fmt.Sprintf("%s of %s since %s", i.Kind, i.Target, i.begun.Round(time.Millisecond))
	}
	if i.note != "" {
		text += " (" + i.note + ")"
	}
	return text
}

// overlaps tells whether an incident was under way between two times.
func (i incident) overlaps(from, to time.Duration) bool {
	return i.begun <= to && (i.ended == 0 || i.ended >= from)
}

// injector carries out a plan. Its incidents may be asked for at any time.
type injector struct {
	stage *stage
	begun time.Time

	mu        sync.Mutex
	incidents []incident
}

// run injects the plan's faults, each at its time, and returns when all are
// over and what they struck runs again. When ctx ends it gives up.
func (i *injector) run(ctx context.Context, plan []fault, failed func(error)) {
	var under sync.WaitGroup
	defer under.Wait()
	for _, f := range plan {
		if !sleep(ctx, time.Until(i.begun.Add(f.At))) {
			return
		}
		under.Go(func() {
			defer reportPanic(failed)
			i.inject(ctx, f)
		})
	}
}

// inject does one fault and notes it.
func (i *injector) inject(ctx context.Context, f fault) {
	i.mu.Lock()
	number := len(i.incidents)
	i.incidents = append(i.incidents, incident{fault: f, begun: time.Since(i.begun)})
	i.mu.Unlock()

	note, err := i.suffer(ctx, f)

	i.mu.Lock()
	defer i.mu.Unlock()
	at := &i.incidents[number]
	at.ended, at.note = time.Since(i.begun), note
	if ctx.Err() == nil {
		at.failure = err
	}
}

// suffer does what a fault is, for as long as it lasts, and mends it.
func (i *injector) suffer(ctx context.Context, f fault) (note string, err error) {
	s := i.stage
	mended := i.begun.Add(f.End())
	lasting := func() { sleep(ctx, time.Until(mended)) }
	switch f.Kind {
	case kill:
		if f.Target == redisName {
			note = s.unwritten(ctx)
		}
		v := s.victim(f.Target)
		if err := v.Kill(); err != nil {
			return note, err
		}
		note = fmt.Sprintf("dead at %s %s", time.Since(i.begun).Round(time.Millisecond), note)
		lasting()
		return note, restart(ctx, v)
	case terminate:
		v := s.victim(f.Target)
		if f.Target == postgresName {
			err = s.smartShutdown()
			lasting()
			err = errors.Join(err, v.Stop(ctx))
		} else {
			err = v.Stop(ctx)
			lasting()
		}
		return "", errors.Join(err, restart(ctx, v))
	case pause:
		v := s.victim(f.Target)
		err := v.Pause()
		lasting()
		return "", errors.Join(err, v.Resume())
	case crash:
		err := s.crashBackend(ctx)
		lasting()
		return "", err
	case redisFull:
		if err := s.fillRedis(ctx); err != nil {
			return "", err
		}
		lasting()
		return "", s.emptyRedis(ctx)
	case noConnections:
		ctx, cancel := context.WithDeadline(ctx, mended)
		defer cancel()
		return "", s.occupyConnections(ctx)
	case diskFull, diskSlow:
		err := s.sicken(ctx, f.Kind, f.Lasts)
		lasting()
		return "", err
	default:
		w, note := weatherOf(f)
		s.links[f.Target].set(w)
		lasting()
		s.links[f.Target].set(weather{})
		return note, nil
	}
}

// restart starts a victim again, unless the run is given up.
func restart(ctx context.Context, v victim) error {
	if ctx.Err() != nil {
		return nil
	}
	return v.Restart(ctx)
}

// weatherOf is what a fault does to a link. How bad it is follows from how long
// the plan lets it last.
func weatherOf(f fault) (w weather, note string) {
	draw := int(f.Lasts / time.Millisecond)
	switch f.Kind {
	case cut:
		return weather{Cut: true}, ""
	case delay:
		w.Delay = time.Duration(20+draw%800) * time.Millisecond
		return w, w.Delay.String()
	case throttle:
		w.BytesPerSecond = 2_000 + draw%40_000
		return w, fmt.Sprintf("%d bytes/s", w.BytesPerSecond)
	case mute:
		return weather{HoldToClient: true}, ""
	default:
		return weather{HoldToServer: true, HoldToClient: true}, ""
	}
}

// all returns the incidents so far.
func (i *injector) all() []incident {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.incidents)
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
