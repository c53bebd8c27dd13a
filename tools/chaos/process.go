package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"tracklane/internal/devservers"
)

const (
	// shutdownTimeout is what the processes are told to stop within.
	shutdownTimeout = 15 * time.Second

	// stopPatience is how much longer than that a process may take.
	stopPatience = 5 * time.Second
)

// process is a process of tracklane that is started again and again. One
// goroutine at a time may use it.
type process struct {
	binary, command string
	environment     []string
	logFile         string

	// died is called when the process ends though nobody ended it.
	died func(error)

	mu       sync.Mutex
	expected bool // that it ends
	running  *exec.Cmd
	ended    chan struct{}
}

// Restart starts the process, the first time and after Kill or Stop. It may not
// serve yet when Restart returns.
func (p *process) Restart(context.Context) error {
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of tracklane %s: %w", p.command, err)
	}
	command := exec.Command(p.binary, p.command)
	command.Env = p.environment
	command.Stdout, command.Stderr = log, log

	ended := make(chan struct{})
	p.mu.Lock()
	p.expected, p.running, p.ended = false, command, ended
	p.mu.Unlock()
	defer log.Close() // the process has its own
	err = devservers.StartChild(command, func(how error) {
		p.mu.Lock()
		expected := p.expected
		p.mu.Unlock()
		if !expected {
			p.died(fmt.Errorf("tracklane %s ended by itself (%v); see %s", p.command, how, p.logFile))
		}
		close(ended) // last: from here on the process may be started again
	})
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running = nil
		return fmt.Errorf("start tracklane %s: %w", p.command, err)
	}
	return nil
}

// Kill ends the process at once.
func (p *process) Kill() error {
	if err := p.signal(syscall.SIGKILL, true); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Stop ends the process by SIGTERM. It returns an error when it does not end in
// time or not in order; it has ended in any case.
func (p *process) Stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM, true); err != nil {
		return err
	}
	timer := time.NewTimer(shutdownTimeout + stopPatience)
	defer timer.Stop()
	select {
	case <-p.ended:
		if code := p.running.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("exit status %d after SIGTERM; see %s", code, p.logFile)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("still running %s after SIGTERM; see %s (%w)",
			shutdownTimeout+stopPatience, p.logFile, errNotStopped(p.Kill()))
	case <-ctx.Done():
		return errNotStopped(p.Kill())
	}
}

// errNotStopped says that a process had to be killed.
func errNotStopped(killError error) error {
	if killError != nil {
		return fmt.Errorf("and kill -9 failed: %w", killError)
	}
	return fmt.Errorf("it was killed")
}

// Pause stops the process in the middle of what it does.
func (p *process) Pause() error { return p.signal(syscall.SIGSTOP, false) }

// Resume lets a paused process go on.
func (p *process) Resume() error { return p.signal(syscall.SIGCONT, false) }

func (p *process) signal(signal syscall.Signal, ends bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = p.expected || ends
	if err := p.running.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to tracklane %s: %w", signal, p.command, err)
	}
	return nil
}
