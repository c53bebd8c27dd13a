package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// maxLogBytes is the size beyond which a server's log is emptied at its start.
const maxLogBytes = 16 << 20

// launch says how a server is started and when it is up.
type launch struct {
	command     func(port int) *exec.Cmd
	credential  *syscall.Credential // nil: this process's user
	deathSignal syscall.Signal      // what it gets when this process dies
	logFile     string              // where its output goes
	// answers returns nil when the server on port takes clients and is the one
	// with that process id, not somebody else's.
	answers func(ctx context.Context, port, pid int) error
}

// errEarlyEnd says that a server ended before it was up.
var errEarlyEnd = errors.New("it ended at once")

// start starts the server on port, or on a free one when port is 0, and returns
// when it answers, after startTimeout at the latest.
func (l launch) start(ctx context.Context, port int) (*process, int, error) {
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
			err = fmt.Errorf("%w; %s says:\n%s", err, l.logFile, lines)
		}
		if !errors.Is(err, errEarlyEnd) || !passing(output) {
			return nil, 0, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// passing says whether a server that wrote output and ended may start when it is
// tried again: its port was taken meanwhile, or a killed PostgreSQL's children
// have not all ended.
func passing(output string) bool {
	return strings.Contains(output, "Address already in use") ||
		strings.Contains(output, "pre-existing shared memory block")
}

// attempt starts the server once. With an error it returns the end of what the
// server wrote, and the server does not run.
func (l launch) attempt(ctx context.Context, port int) (running *process, output string, err error) {
	log, err := os.OpenFile(l.logFile, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
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

	command := l.command(port)
	command.Stdout, command.Stderr = log, log
	running, err = startProcess(command, l.credential, l.deathSignal)
	if err != nil {
		return nil, "", err
	}
	err = l.await(ctx, running, port)
	if err == nil {
		return running, "", nil
	}
	err = errors.Join(err, running.kill())
	end := make([]byte, 4096)
	n, _ := log.ReadAt(end, before)
	return nil, string(end[:n]), err
}

// await returns when the server answers, ends, or ctx is done.
func (l launch) await(ctx context.Context, running *process, port int) error {
	ticker := time.NewTicker(15 * time.Millisecond)
	defer ticker.Stop()
	answer := errors.New("not asked")
	for {
		select {
		case <-running.ended:
			return errEarlyEnd
		case <-ctx.Done():
			return fmt.Errorf("it does not answer on %s (%w): %w", address(port), answer, ctx.Err())
		case <-ticker.C:
		}
		if answer = l.ask(ctx, port, running.pid()); answer == nil {
			return nil
		}
	}
}

// ask asks the server once, for a second at the longest.
func (l launch) ask(ctx context.Context, port, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return l.answers(ctx, port, pid)
}
