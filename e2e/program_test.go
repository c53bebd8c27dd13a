package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/config"
	"tracklane/internal/devservers"
	"tracklane/internal/process"
)

// settings are those of every program of these tests.
var settings = []string{"HTTP_ADDR=127.0.0.1:0", "LOG_LEVEL=error", "LOG_FORMAT=text", "SHUTDOWN_TIMEOUT=10s"}

// server is a running program of some roles.
type server struct {
	url  string
	stop func() // and wait until it has stopped
}

// startServer runs the program in this process, as the commands do, and stops it
// when t ends.
func startServer(t *testing.T, roles app.Roles, environment ...string) *server {
	t.Helper()
	c, err := config.Load(slices.Concat(settings, environment))
	require.NoError(t, err)
	p, err := app.New(c, roles, version, app.NewLogger(c.LogLevel, c.LogFormat))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	s := &server{url: p.URL(), stop: sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-ended)
	})}
	t.Cleanup(s.stop)
	return s
}

// child is the program as a process of its own.
type child struct {
	*process.Process
	url string
}

// startProcess runs one of tracklane's commands as a process of its own, waits
// until it responds, and kills it when t ends.
func startProcess(t *testing.T, command string, environment ...string) child {
	t.Helper()
	port, err := devservers.FreePort()
	require.NoError(t, err)
	program := exec.Command(os.Args[0])
	program.Env = slices.Concat(os.Environ(), settings, environment,
		[]string{runAsProgram + "=" + command, fmt.Sprint("HTTP_ADDR=127.0.0.1:", port)})
	program.Stdout, program.Stderr = t.Output(), t.Output()
	p, err := process.Start(program, process.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Kill()) })
	url := fmt.Sprint("http://127.0.0.1:", port)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, p.AwaitReady(ctx, process.RespondsWith(url+"/livez", http.StatusOK)))
	return child{p, url}
}
