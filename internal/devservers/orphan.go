package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// orphanInterval is the time between two checks whether an orphan has ended.
const orphanInterval = 20 * time.Millisecond

// stopOrphan stops the server that an earlier tracklane left running in directory
// when it died, and returns its process id, or 0 if there is none. In pidFile a
// server writes that id; signal asks the server to stop. The caller holds the
// directory's lock, so whichever server runs there is an orphan.
func stopOrphan(ctx context.Context, pidFile, directory string, signal syscall.Signal) (pid int, err error) {
	pid, err = readPID(pidFile)
	if err != nil || pid == 0 {
		return 0, err
	}
	if !hasCwd(pid, directory) {
		// The server is gone. Its id may since have gone to another process,
		// which would keep PostgreSQL from starting.
		if syscall.Kill(pid, 0) == nil {
			return 0, os.Remove(pidFile)
		}
		return 0, nil
	}

	ctx, cancel := context.WithTimeout(ctx, 2*stopTimeout)
	defer cancel()
	syscall.Kill(pid, syscall.SIGCONT)
	syscall.Kill(pid, signal)
	kill := time.After(stopTimeout)
	for hasCwd(pid, directory) {
		select {
		case <-time.After(orphanInterval):
		case <-kill:
			syscall.Kill(pid, syscall.SIGKILL)
		case <-ctx.Done():
			return 0, fmt.Errorf("an earlier start left process %d running in %s, and it does not stop: %w", pid, directory, ctx.Err())
		}
	}
	return pid, nil
}

// readPID returns the process id in the first line of the file path, or 0 if
// there is no such file or no id in it.
func readPID(path string) (int, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0, nil
	}
	return pid, nil
}
