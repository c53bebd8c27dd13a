package harness

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tracklane/internal/process"
)

// readyTimeout is how long a process may take until it serves.
const readyTimeout = 30 * time.Second

// Program is a process that is started again and again. One goroutine at a time
// may use it.
type Program struct {
	// Command makes the command for each start.
	Command func() *exec.Cmd
	// LogFile gets the output, appended; empty: it goes where the command says.
	LogFile string
	// StopTimeout is how long the process may take to end after SIGTERM.
	StopTimeout time.Duration
	// Died is called when the process ends though nobody ended it.
	Died func(error)

	*process.Process // nil before the first start
}

// Restart starts the process, the first time and after Kill or Stop. It may not
// serve yet when Restart returns.
func (p *Program) Restart(context.Context) error {
	command := p.Command()
	name := describe(command)
	started, err := process.Start(command, process.Options{LogFile: p.LogFile, Died: func(exit error) {
		p.Died(fmt.Errorf("%s ended by itself (%w)%s", name, exit, p.seeLog()))
	}})
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p.Process = started
	return nil
}

// AwaitResponse waits until a GET of url has the status. It returns an error that
// is process.ErrExited if the process ends before.
func (p *Program) AwaitResponse(ctx context.Context, url string, status int) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return p.AwaitReady(ctx, process.RespondsWith(url, status))
}

// Stop ends the process by SIGTERM. It returns an error when it does not end in
// time or not in order; it has ended in any case.
func (p *Program) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.StopTimeout)
	defer cancel()
	err := p.Process.Stop(ctx, syscall.SIGTERM)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		return fmt.Errorf("end %s by SIGTERM: %w%s", describe(p.Command()), err, p.seeLog())
	}
	return nil
}

// seeLog points to the log, where there is one.
func (p *Program) seeLog() string {
	if p.LogFile == "" {
		return ""
	}
	return "; see " + p.LogFile
}

// describe names a command by its program and first argument.
func describe(command *exec.Cmd) string {
	name := filepath.Base(command.Path)
	if len(command.Args) > 1 {
		name += " " + command.Args[1]
	}
	return name
}
