package app

import (
	"context"
	"sync"
)

// run is one Program.Run: which parts run, and what ends them.
type run struct {
	// ctx ends when the program is to stop: when its user says so, or when a part
	// has failed.
	ctx  context.Context
	stop context.CancelFunc

	// serving ends later, when no new client comes any more: it is for the streams
	// and pages of clients.
	serving     context.Context
	stopServing context.CancelFunc

	// background ends last: it is for what requests in flight need.
	background     context.Context
	stopBackground context.CancelFunc

	// flush returns when what was accepted is safe; it is called when no request
	// is in flight any more.
	flush func(context.Context)

	parts    sync.WaitGroup
	servers  sync.WaitGroup // of HTTP; the operators' ends after the parts
	failures chan error     // the first one
}

func newRun(ctx context.Context) *run {
	r := &run{failures: make(chan error, 1), flush: func(context.Context) {}}
	r.ctx, r.stop = context.WithCancel(ctx)
	r.serving, r.stopServing = context.WithCancel(context.WithoutCancel(ctx))
	r.background, r.stopBackground = context.WithCancel(context.WithoutCancel(ctx))
	return r
}

// fail ends the run because a part could not do its work.
func (r *run) fail(err error) {
	select {
	case r.failures <- err:
	default: // another part failed before
	}
	r.stop()
}

// failure is the error of the part that failed first, or nil.
func (r *run) failure() error {
	select {
	case err := <-r.failures:
		return err
	default:
		return nil
	}
}
