package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"time"

	"tracklane/tools/harness"
)

// stopTimeout is longer than the 30 s that tracklane gives itself.
const stopTimeout = 45 * time.Second

// server is a running process of tracklane, or of a competitor.
type server struct {
	*harness.Program
	url string

	// What a GET of the path responds once the process serves.
	path   string
	status int

	beside int // the id of a process that works for it, such as a pooler, or 0
}

// restart starts the process, the first time and after its end, and waits until it
// serves.
func (p *server) restart(ctx context.Context) error {
	if err := p.Restart(ctx); err != nil {
		return err
	}
	return p.AwaitResponse(ctx, p.url+p.path, p.status)
}

// withServer starts what command makes, waits until a GET of the path has the
// status, runs do, and stops the process. The context of do ends with the process.
func withServer(ctx context.Context, command func() *exec.Cmd, url, path string, status int,
	do func(context.Context, *server) error,
) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &server{url: url, path: path, status: status}
	p.Program = &harness.Program{StopTimeout: stopTimeout, Died: cancel, Command: func() *exec.Cmd {
		made := command()
		made.Stderr = os.Stderr
		return made
	}}
	defer func() {
		if p.Process != nil {
			err = errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := p.restart(ctx); err != nil {
		return err
	}
	return do(ctx, p)
}
