package devservers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"tracklane/internal/process"
)

// server is a server that runs as a child of this process.
type server struct {
	name       string // "PostgreSQL"
	directory  string // of its data
	stopSignal syscall.Signal
	launcher   launcher
	// prepare, unless nil, makes the server that just started fit for use.
	prepare func(ctx context.Context) error

	mu      sync.Mutex // held while the server starts, stops, or is signalled
	lock    directoryLock
	port    int // 0 before the first start
	process *process.Process
}

// start starts the server, on the port it had before if there was one. The
// caller holds mu, unless nobody else knows the server yet. After an error the
// server does not run and its directory is not locked.
func (s *server) start(ctx context.Context) error {
	if err := s.lock.acquire(); err != nil {
		return err
	}
	running, port, err := s.launcher.start(ctx, s.port)
	if err == nil {
		s.process, s.port = running, port
		if s.prepare != nil {
			if err = s.prepare(ctx); err != nil {
				err = errors.Join(err, running.Kill())
			}
		}
	}
	if err != nil {
		s.lock.release()
	}
	return err
}

// PID is the id of the server's first process, another one after each start. The
// server's other processes, if it has any, are children of that one.
func (s *server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.PID()
}

// Stop shuts the server down; its data is kept. PostgreSQL rolls transactions in
// progress back. A server that has not stopped after 10 s, or when ctx ends, is
// killed, which is an error that is ctx's, though nothing acknowledged is lost.
// Stopping a stopped server does nothing.
func (s *server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.lock.release()
	return s.wrap("stop", s.process.Stop(ctx, s.stopSignal))
}

// Kill ends the server and its children by SIGKILL, as a crash would.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.lock.release()
	return s.wrap("kill", s.process.Kill())
}

// Pause keeps the server and its children from running: connections stay open,
// and nothing responds.
func (s *server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrap("pause", s.process.Pause())
}

// Resume ends a Pause.
func (s *server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrap("resume", s.process.Resume())
}

// Restart starts a server that was stopped or killed, with its data and on its
// port, and returns when it accepts connections, after 30 s at the latest. It is
// an error if the server runs.
func (s *server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process.Running() {
		return s.wrap("restart", errors.New("it runs; stop it first"))
	}
	return s.wrap("restart", s.start(ctx))
}

// wrap adds to an error what was being done.
func (s *server) wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s in %s: %w", verb, s.name, s.directory, err)
}
