package main

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"tracklane/internal/process"
)

const (
	// shutdownTimeout is what the processes are told to stop within.
	shutdownTimeout = 15 * time.Second

	// stopGrace is how much longer than that a process may take.
	stopGrace = 5 * time.Second
)

// tracklane is a process of tracklane that is started again and again. One
// goroutine at a time may use it.
type tracklane struct {
	binary, command string
	environment     []string
	logFile         string

	// died is called when the process ends though nobody ended it.
	died func(error)

	*process.Process // nil before the first start
}

// Restart starts the process, the first time and after Kill or Stop. It may not
// serve yet when Restart returns.
func (t *tracklane) Restart(context.Context) error {
	command := exec.Command(t.binary, t.command)
	command.Env = t.environment
	started, err := process.Start(command, process.Options{LogFile: t.logFile, Died: func(exit error) {
		t.died(fmt.Errorf("tracklane %s ended by itself (%w); see %s", t.command, exit, t.logFile))
	}})
	if err != nil {
		return fmt.Errorf("tracklane %s: %w", t.command, err)
	}
	t.Process = started
	return nil
}

// Stop ends the process by SIGTERM. It returns an error when it does not end in
// time or not in order; it has ended in any case.
func (t *tracklane) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout+stopGrace)
	defer cancel()
	if err := t.Process.Stop(ctx, syscall.SIGTERM); err != nil {
		return fmt.Errorf("tracklane %s: %w; see %s", t.command, err, t.logFile)
	}
	if err := t.Wait(); err != nil {
		return fmt.Errorf("tracklane %s after SIGTERM: %w; see %s", t.command, err, t.logFile)
	}
	return nil
}
