package devservers

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// directoryLock says that this process, and no other, runs a server in a directory.
// The operating system takes it from a process that dies, so a server that runs
// in a directory that could be locked is one that lost its tracklane.
type directoryLock struct {
	path string
	file *os.File
}

const (
	lockTries = 20
	lockPause = 25 * time.Millisecond
)

// acquire takes the lock, unless it is held already.
func (l *directoryLock) acquire() error {
	if l.file != nil {
		return nil
	}
	file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	// A child that is being started holds a copy of the lock until it is another
	// program: a lock that was given up a moment ago may still seem taken.
	for tries := 0; errors.Is(err, syscall.EWOULDBLOCK) && tries < lockTries; tries++ {
		time.Sleep(lockPause)
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.New("another tracklane uses this data directory: stop it, or choose another directory")
		}
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	l.file = file
	return nil
}

// release gives the lock up, if it is held.
func (l *directoryLock) release() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
