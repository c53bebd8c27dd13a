// Package timescale starts a TimescaleDB for tests. No Debian package has one,
// so it is PostgreSQL 17 with TimescaleDB 2.23 in WebAssembly, run by Node.
package timescale

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Dir is where the server's script and its node_modules are, below the
// module's root.
const Dir = "internal/devservers/timescale"

// Install is the command that installs what the server needs, once per
// checkout, in the module's root.
const Install = "npm ci --prefix " + Dir

// RequiredVariable names the environment variable that, set to "required",
// makes Start fail a test where it would skip it.
const RequiredVariable = "TRACKLANE_TEST_TIMESCALEDB"

// startTimeout bounds the start, which takes some 2 seconds of one core.
const startTimeout = time.Minute

// Start gives t a new, empty database with the extension timescaledb in it, and
// stops it when t ends. It returns the database's URL.
//
// The server is not quite PostgreSQL: it takes one connection at a time, and
// later ones wait; its connections share one session, so that what a connection
// prepares or sets is there for the next; COPY FROM STDIN and CREATE EXTENSION
// crash it. Prepared statements would collide, so the URL turns them off.
//
// Where Node or the server's packages are missing, Start skips t and says what
// to install; with RequiredVariable it fails t.
func Start(t testing.TB) (databaseURL string) {
	t.Helper()
	dir := locate(t)

	command := exec.Command("node", "server.mjs")
	command.Dir = dir
	command.Stderr = t.Output()
	// Node ends when this pipe closes, also when the test process is killed.
	if _, err := command.StdinPipe(); err != nil {
		t.Fatalf("start TimescaleDB: %v", err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatalf("start TimescaleDB: %v", err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("start TimescaleDB: %v", err)
	}
	tooSlow := time.AfterFunc(startTimeout, func() { command.Process.Kill() })
	t.Cleanup(func() {
		tooSlow.Stop()
		command.Process.Kill()
		command.Wait()
	})

	var port int
	if _, err := fmt.Fscanln(bufio.NewReader(stdout), &port); err != nil {
		t.Fatalf("start TimescaleDB: no port from %s/server.mjs within %s: %v", Dir, startTimeout, err)
	}
	tooSlow.Stop()
	return fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%d/postgres?sslmode=disable&default_query_exec_mode=exec", port)
}

// locate returns the server's directory, or ends t when it is not installed.
func locate(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatalf("start TimescaleDB: %v", err)
	}
	dir := filepath.Join(root, filepath.FromSlash(Dir))
	missing := ""
	if _, err := exec.LookPath("node"); err != nil {
		missing = "Node is not on PATH; install it, then run `" + Install + "`"
	} else if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		missing = "its packages are not installed; run `" + Install + "`"
	}
	switch {
	case missing == "":
	case os.Getenv(RequiredVariable) == "required":
		t.Fatalf("TimescaleDB cannot be started: %s", missing)
	default:
		t.Skipf("TimescaleDB cannot be started: %s", missing)
	}
	return dir
}

// moduleRoot is the nearest directory with a go.mod, from the working directory
// up. A test's working directory is its package's directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod in the working directory or above it")
		}
		dir = parent
	}
}
