package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tracklane/internal/devservers"
)

const (
	readyTimeout  = 30 * time.Second
	readyInterval = 20 * time.Millisecond
	stopTimeout   = 45 * time.Second // tracklane gives itself 30 s
)

// process is a running process of tracklane, or of a competitor.
type process struct {
	url     string
	name    string
	command *exec.Cmd
	ended   chan struct{}
}

// withProcess starts a command, waits until it answers a path with a status,
// runs do, and stops the command. The context of do ends with the process.
func withProcess(ctx context.Context, command *exec.Cmd, url, path string, status int, do func(context.Context, *process) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &process{url: url, name: filepath.Base(command.Path), command: command, ended: make(chan struct{})}
	command.Stderr = os.Stderr
	if err := devservers.StartChild(command, func(how error) {
		cancel(fmt.Errorf("%s ended: %v", p.name, how))
		close(p.ended)
	}); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.ready(ctx, path, status); err != nil {
		return err
	}
	return do(ctx, p)
}

func (p *process) ready(ctx context.Context, path string, status int) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
		if err != nil {
			return fmt.Errorf("ask whether %s is ready: %w", p.name, err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == status {
				return nil
			}
		}
		if !sleep(ctx, readyInterval) {
			return fmt.Errorf("%s did not become ready: %w", p.name, context.Cause(ctx))
		}
	}
}

// stop asks the process to end and ends it when it does not.
func (p *process) stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.ended
	return fmt.Errorf("%s did not stop within %s and was killed", p.name, stopTimeout)
}

// sleep waits, and says whether it did to the end.
func sleep(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
