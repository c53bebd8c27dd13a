// Package process runs other programs as children of this process: PostgreSQL and
// Redis for development, and tracklane itself for the tests, the chaos runs and
// the benchmarks.
package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	readyInterval = 15 * time.Millisecond // between two checks of AwaitReady
	readyTimeout  = time.Second           // of one check
)

// ErrExited is the error of AwaitReady when the process ended before it was ready.
var ErrExited = errors.New("it exited at once")

// Options are how a process is started. The zero value is that of a process of
// this user whose output goes where the command says.
type Options struct {
	// Credential is the user to run as; nil is this process's user.
	Credential *syscall.Credential
	// DeathSignal is what the process gets when this process dies, however that
	// happens; 0 is SIGKILL. Only Linux has it: elsewhere the process lives on.
	DeathSignal syscall.Signal
	// LogFile is a file to which standard output and standard error are appended.
	// If it is empty, they go where the command says.
	LogFile string
	// Died, unless nil, is called once, before Done is closed, if the process ends
	// although neither Stop nor Kill was called. It gets what Wait returns.
	Died func(exit error)
}

// Process is a child of this process that was started. It is in a process group
// of its own, so that a Ctrl-C at the terminal reaches this process alone, which
// then stops its children in order. Its methods may be called from several
// goroutines, and after its end.
type Process struct {
	command *exec.Cmd
	name    string
	ending  atomic.Bool   // Stop or Kill was called
	done    chan struct{} // closed when the process has ended
	exit    error         // what Wait returned; valid once done is closed
}

// Start starts command, which must not have been started. The process may not be
// ready when Start returns: see AwaitReady. The caller must Stop or Kill it, or
// Wait for its end.
func Start(command *exec.Cmd, options Options) (*Process, error) {
	p := &Process{command: command, name: filepath.Base(command.Path), done: make(chan struct{})}
	if options.DeathSignal == 0 {
		options.DeathSignal = syscall.SIGKILL
	}
	command.SysProcAttr = attributes(options.Credential, options.DeathSignal)
	if options.LogFile != "" {
		log, err := os.OpenFile(options.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open the log of %s: %w", p.name, err)
		}
		defer log.Close() // the process has a copy
		command.Stdout, command.Stderr = log, log
	}
	started := make(chan error, 1)
	go func() {
		// Linux sends DeathSignal when the thread that started the child ends.
		// Locked to this goroutine, the thread lasts as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.wait(options.Died)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

func (p *Process) wait(died func(error)) {
	p.exit = p.command.Wait()
	if died != nil && !p.ending.Load() {
		died(p.exit)
	}
	close(p.done)
}

// PID is the process's id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait returns when the process has ended: nil after exit status 0, otherwise an
// error such as an *exec.ExitError. It may be called any number of times.
func (p *Process) Wait() error {
	<-p.done
	return p.exit
}

// AwaitReady calls check until it returns nil, with a context that ends after a
// second. It returns an error that is ErrExited if the process ends before, or the
// error of the context with the last one of check if ctx ends before.
func (p *Process) AwaitReady(ctx context.Context, check func(context.Context) error) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	last := errors.New("not checked yet")
	for {
		select {
		case <-p.done:
			return fmt.Errorf("wait for %s: %w", p.name, ErrExited)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s (%w): %w", p.name, last, context.Cause(ctx))
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, readyTimeout)
		last = check(bounded)
		cancel()
		if last == nil {
			return nil
		}
	}
}

// RespondsWith makes a check for AwaitReady: whether a GET of url has the status.
func RespondsWith(url string, status int) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			return fmt.Errorf("GET %s: %s", url, response.Status)
		}
		return nil
	}
}

// Stop resumes the process if it is paused, sends it a signal and waits for its
// end; Wait then returns how it ended. If ctx ends before, Stop kills the process
// and returns an error that is ctx's.
func (p *Process) Stop(ctx context.Context, signal syscall.Signal) error {
	p.ending.Store(true)
	if err := p.Resume(); err != nil {
		return err
	}
	if err := p.Signal(signal); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not stop and was killed: %w", p.name, context.Cause(ctx)), p.Kill())
	}
}

// Kill ends the process and its children by SIGKILL, and returns when the process
// has ended.
func (p *Process) Kill() error {
	p.ending.Store(true)
	if err := p.pauseAndSignalChildren(syscall.SIGKILL); err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Pause keeps the process and its children from running until Resume.
func (p *Process) Pause() error { return p.pauseAndSignalChildren(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Process) Resume() error {
	for _, child := range p.Children() {
		_ = syscall.Kill(child, syscall.SIGCONT) // it may have ended meanwhile
	}
	return p.Signal(syscall.SIGCONT)
}

// pauseAndSignalChildren stops the process and sends signal to each of its
// children. A signal to the process group would not do: each process of
// PostgreSQL makes itself the leader of a group of its own.
func (p *Process) pauseAndSignalChildren(signal syscall.Signal) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	// The process may have made children until it stopped.
	signalled := map[int]bool{}
	for more := true; more; {
		more = false
		for _, child := range p.Children() {
			if !signalled[child] {
				_ = syscall.Kill(child, signal) // it may have ended meanwhile
				signalled[child], more = true, true
			}
		}
	}
	return nil
}

// Signal sends a signal to the process alone; to none when it has ended.
func (p *Process) Signal(signal syscall.Signal) error {
	err := p.command.Process.Signal(signal)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s (process %d): %w", signal, p.name, p.PID(), err)
	}
	return nil
}

// Children returns the ids of the process's children, none when it has ended.
func (p *Process) Children() []int {
	if !p.Running() {
		return nil // its id may since have gone to another process
	}
	return children(p.PID())
}
