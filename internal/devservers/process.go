package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs as a child of this process, in a process group
// of its own, so that a Ctrl-C at the terminal reaches this process alone, which
// then stops its servers in order.
type process struct {
	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// startProcess starts command, which gets deathSignal when this process dies
// (on Linux; elsewhere the next start finds it, see stopOrphan).
func startProcess(command *exec.Cmd, credential *syscall.Credential, deathSignal syscall.Signal) (*process, error) {
	command.SysProcAttr = processAttributes(credential, deathSignal)
	p := &process{command: command, ended: make(chan struct{})}
	err := start(command, func(error) { close(p.ended) }) // how it ended, its log says better
	if err != nil {
		return nil, err
	}
	return p, nil
}

// StartChild starts command in a process group of its own, so that a Ctrl-C at
// the terminal does not reach it. On Linux it is killed when this process dies.
// When it has ended, ended is called once with what its Wait returned.
func StartChild(command *exec.Cmd, ended func(how error)) error {
	command.SysProcAttr = processAttributes(nil, syscall.SIGKILL)
	return start(command, ended)
}

// start starts command and calls ended when it has ended.
func start(command *exec.Cmd, ended func(how error)) error {
	started := make(chan error, 1)
	go func() {
		// Linux sends the signal when the thread that started the child ends.
		// Locked to this goroutine, it lasts as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			ended(command.Wait())
		}
	}()
	return <-started
}

// pid is the process's id.
func (p *process) pid() int { return p.command.Process.Pid }

// running says whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop asks the process by a signal to stop, and kills it when it has not
// stopped after stopTimeout or when ctx is done; then it returns an error.
func (p *process) stop(ctx context.Context, signal syscall.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := p.resume(); err != nil {
		return err
	}
	if err := p.signal(signal); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("it did not stop and was killed: %w", ctx.Err()), p.kill())
	}
}

// kill ends the process and its children at once, and returns when it has ended.
func (p *process) kill() error {
	if err := p.signalWithChildren(syscall.SIGKILL); err != nil {
		return err
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// pause stops the process and its children from running until resume.
func (p *process) pause() error { return p.signalWithChildren(syscall.SIGSTOP) }

// resume lets the process and its children run again.
func (p *process) resume() error {
	for _, child := range children(p.pid()) {
		syscall.Kill(child, syscall.SIGCONT)
	}
	return p.signal(syscall.SIGCONT)
}

// signalWithChildren stops the process and sends signal to each of its children.
// A signal to the process group would not do: each process of PostgreSQL makes
// itself the leader of a group of its own.
func (p *process) signalWithChildren(signal syscall.Signal) error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	// It may have made children until it stopped.
	signalled := map[int]bool{}
	for more := true; more; {
		more = false
		for _, child := range children(p.pid()) {
			if !signalled[child] {
				syscall.Kill(child, signal)
				signalled[child], more = true, true
			}
		}
	}
	return nil
}

// signal sends a signal to the process alone; to none when it has ended.
func (p *process) signal(signal syscall.Signal) error {
	err := p.command.Process.Signal(signal)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to process %d: %w", signal, p.pid(), err)
	}
	return nil
}

// stopOrphan stops the server that an earlier tracklane left running in folder
// when it died, if there is one. pidFile is the file in which a server writes
// its process id, in the first line; signal asks it to stop. The caller holds
// the folder's lock, so whichever server runs there is an orphan.
func stopOrphan(ctx context.Context, pidFile, folder string, signal syscall.Signal) (pid int, err error) {
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 || !worksIn(pid, folder) {
		// The server is gone. Its id may since have gone to another process,
		// which would keep PostgreSQL from starting.
		if err == nil && pid > 1 && syscall.Kill(pid, 0) == nil {
			return 0, os.Remove(pidFile)
		}
		return 0, nil
	}

	ctx, cancel := context.WithTimeout(ctx, 2*stopTimeout)
	defer cancel()
	syscall.Kill(pid, syscall.SIGCONT)
	syscall.Kill(pid, signal)
	kill := time.After(stopTimeout)
	for worksIn(pid, folder) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-kill:
			syscall.Kill(pid, syscall.SIGKILL)
		case <-ctx.Done():
			return 0, fmt.Errorf("an earlier start left process %d running in %s, and it does not stop: %w", pid, folder, ctx.Err())
		}
	}
	return pid, nil
}
