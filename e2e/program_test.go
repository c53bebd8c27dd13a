package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/auth"
	"tracklane/internal/config"
	"tracklane/internal/devservers"
	"tracklane/internal/process"
)

// settings are those of every program of these tests.
var settings = []string{"HTTP_ADDR=127.0.0.1:0", "AUTH=off", "LOG_LEVEL=error", "LOG_FORMAT=text", "SHUTDOWN_TIMEOUT=10s"}

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
	url  string
	port int
	log  *logBuffer
}

// logBuffer keeps what a process has logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startProcess runs one of tracklane's commands as a process of its own, waits
// until it responds, and kills it when t ends.
func startProcess(t *testing.T, command string, environment ...string) child {
	t.Helper()
	port, err := devservers.FreePort()
	require.NoError(t, err)
	return startProcessOn(t, port, command, environment...)
}

// startProcessOn is startProcess with the port that the command listens on.
func startProcessOn(t *testing.T, port int, command string, environment ...string) child {
	t.Helper()
	program := exec.Command(os.Args[0])
	program.Env = slices.Concat(os.Environ(), settings, environment,
		[]string{runAsProgram + "=" + command, fmt.Sprint("HTTP_ADDR=127.0.0.1:", port)})
	logged := &logBuffer{}
	output := io.MultiWriter(t.Output(), logged)
	program.Stdout, program.Stderr = output, output
	p, err := process.Start(program, process.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Kill()) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	url := fmt.Sprint("http://127.0.0.1:", port)
	ready := process.RespondsWith(url+"/livez", http.StatusOK)
	if slices.ContainsFunc(environment, func(setting string) bool { return strings.HasPrefix(setting, "TLS_CERT_FILE=") }) {
		ready = func(context.Context) error { // its certificate is the test's
			connection, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
			if err != nil {
				return err
			}
			return connection.Close()
		}
		url = fmt.Sprint("https://127.0.0.1:", port)
	}
	require.NoError(t, p.AwaitReady(ctx, ready))
	return child{p, url, port, logged}
}

func TestProgram_DoesNotStartOpenUnlessToldSo(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"serve":  "SECRET_KEY and OPERATOR_PASSWORD must be set: ",
		"api":    "SECRET_KEY and OPERATOR_PASSWORD must be set: ",
		"worker": "OPERATOR_PASSWORD must be set: ",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			program := exec.Command(os.Args[0])
			program.Env = []string{runAsProgram + "=" + command, "DATABASE_URL=postgres://127.0.0.1:1/none", "HTTP_ADDR=127.0.0.1:0"}
			output, err := program.CombinedOutput()
			require.Error(t, err)
			assert.Contains(t, string(output), want)
			assert.Equal(t, 1, bytes.Count(output, []byte("\n")), "one line: %s", output)
		})
	}
}

// The key is changed while a client posts: first the new one signs and the old one
// still verifies, then the old one goes.
func TestProgram_ChangesItsKeyWithoutA401(t *testing.T) {
	t.Parallel()
	const first, second = "SECRET_KEY=0123456789abcdef0123456789abcdef", "SECRET_KEY=fedcba9876543210fedcba9876543210"
	environment := []string{
		"AUTH=on", "OPERATOR_PASSWORD=cloudbase",
		"DATABASE_URL=" + servers.Database(t), "REDIS_URL=" + servers.Redis(t).URL(),
	}
	sign := func(key string) string {
		_, key, _ = strings.Cut(key, "=")
		token, err := auth.Sign(key, auth.Claims{Scopes: []string{"live"}, Expires: time.Now().Add(time.Hour)}, time.Now())
		require.NoError(t, err)
		return "Bearer " + token
	}
	for _, step := range []struct{ settings, good, bad []string }{
		{settings: []string{first}, good: []string{first}, bad: []string{second}},
		{settings: []string{second, "SECRET_KEY_PREVIOUS=" + strings.TrimPrefix(first, "SECRET_KEY=")}, good: []string{first, second}},
		{settings: []string{second}, good: []string{second}, bad: []string{first}},
	} {
		s := startServer(t, app.Roles{API: true}, slices.Concat(environment, step.settings)...)
		for i := range 20 {
			for _, key := range step.good {
				got := post(t, s.url+"/live", "application/json", flight(fmt.Sprint("f", i), 1), "Authorization", sign(key))
				assert.Less(t, got.code, 300, got.text)
			}
		}
		for _, key := range step.bad {
			assert.Equal(t, 401, post(t, s.url+"/live", "application/json", flight("f", 1), "Authorization", sign(key)).code)
		}
		s.stop()
	}
}
