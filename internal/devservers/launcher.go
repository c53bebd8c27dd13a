package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"tracklane/internal/process"
)

// maxLogBytes is the size beyond which a server's log is emptied at its start.
const maxLogBytes = 16 << 20

// launcher says how a server is started and when it is up.
type launcher struct {
	command func(port int) *exec.Cmd
	process process.Options // with a LogFile
	// check returns nil when the server on port accepts clients and is the one
	// with that process id, not somebody else's.
	check func(ctx context.Context, port, pid int) error
}

// start starts the server on port, or on a free one if port is 0, and returns
// when it accepts clients, after startTimeout at the latest.
func (l launcher) start(ctx context.Context, port int) (*process.Process, int, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		chosen := port
		if chosen == 0 {
			var err error
			if chosen, err = FreePort(); err != nil {
				return nil, 0, err
			}
		}
		running, output, err := l.attempt(ctx, chosen)
		if err == nil {
			return running, chosen, nil
		}
		if lines := strings.TrimSpace(output); lines != "" {
			err = fmt.Errorf("%w; %s says:\n%s", err, l.process.LogFile, lines)
		}
		if !errors.Is(err, process.ErrExited) || !isTransientStartError(output) {
			return nil, 0, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// isTransientStartError reports whether a server that wrote output and exited may
// start when it is tried again: its port was taken meanwhile, or a killed
// PostgreSQL's children have not all ended.
func isTransientStartError(output string) bool {
	return strings.Contains(output, "Address already in use") ||
		strings.Contains(output, "pre-existing shared memory block")
}

// attempt starts the server once. With an error it returns the end of what the
// server wrote, and the server does not run.
func (l launcher) attempt(ctx context.Context, port int) (running *process.Process, output string, err error) {
	log, err := os.OpenFile(l.process.LogFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	before, err := log.Seek(0, 2)
	if err == nil && before > maxLogBytes {
		before, err = 0, log.Truncate(0)
	}
	if err != nil {
		return nil, "", err
	}

	running, err = process.Start(l.command(port), l.process)
	if err != nil {
		return nil, "", err
	}
	err = running.AwaitReady(ctx, func(ctx context.Context) error { return l.check(ctx, port, running.PID()) })
	if err == nil {
		return running, "", nil
	}
	err = errors.Join(fmt.Errorf("start it on %s: %w", address(port), err), running.Kill())
	end := make([]byte, 4096)
	n, _ := log.ReadAt(end, before)
	return nil, string(end[:n]), err
}
