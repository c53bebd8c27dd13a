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
}

// withServer starts a command, waits until a GET of the path has the status, runs
// do, and stops the command. The context of do ends with the process.
func withServer(ctx context.Context, command *exec.Cmd, url, path string, status int,
	do func(context.Context, *server) error,
) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	command.Stderr = os.Stderr
	p := &harness.Program{Command: func() *exec.Cmd { return command }, StopTimeout: stopTimeout, Died: cancel}
	if err := p.Restart(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	if err := p.AwaitResponse(ctx, url+path, status); err != nil {
		return err
	}
	return do(ctx, &server{p, url})
}
