package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tracklane/internal/process"
)

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 45 * time.Second // tracklane gives itself 30 s
)

// server is a running process of tracklane, or of a competitor.
type server struct {
	*process.Process
	url string
}

// withServer starts a command, waits until a GET of the path has the status, runs
// do, and stops the command. The context of do ends with the process.
func withServer(ctx context.Context, command *exec.Cmd, url, path string, status int, do func(context.Context, *server) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	command.Stderr = os.Stderr
	p, err := process.Start(command, process.Options{Died: func(exit error) {
		cancel(fmt.Errorf("%s ended: %w", filepath.Base(command.Path), exit))
	}})
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, p.Stop(stopping, syscall.SIGTERM))
	}()
	starting, cancelStart := context.WithTimeout(ctx, readyTimeout)
	defer cancelStart()
	if err := p.AwaitReady(starting, process.RespondsWith(url+path, status)); err != nil {
		return err
	}
	return do(ctx, &server{p, url})
}
