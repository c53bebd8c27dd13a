// Package devservers starts the PostgreSQL and the Redis that tracklane needs on
// the machine it runs on, for development and for tests. Both listen on the
// loopback interface only, ask for no password, and end when the process that
// started them ends, however it ends.
package devservers

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// startTimeout is the longest that a server may take from its start until it
	// responds.
	startTimeout = 30 * time.Second
	// stopTimeout is the longest that a server may take to stop by itself.
	stopTimeout = 10 * time.Second
)

// The range that FreePort chooses from lies below those that Linux, macOS and
// the BSDs take the ports of outgoing connections from. There, a client that
// keeps dialling a server that is down would some day be given the server's
// port as its own, connect to itself, and keep the server from coming back.
const firstPort, lastPort = 15000, 32000

// FreePort returns a TCP port of 127.0.0.1 on which nothing listens now.
// Somebody else may take it before the caller does.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		var listener net.Listener
		listener, err = net.Listen("tcp", address(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// address is where a server with that port is reached.
func address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// makeDir makes the directory dir unless it exists, and returns its absolute
// path without symbolic links, as the servers themselves report it.
func makeDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no data directory is given")
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(absolute, 0o755); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

// orDiscard is logger, or one that logs nothing where there is none.
func orDiscard(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}
