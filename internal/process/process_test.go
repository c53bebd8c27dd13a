package process

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// holdVariable names the variable that makes this test program start a child,
// print its id and wait to be killed.
const holdVariable = "PROCESS_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdVariable); path != "" {
		p, err := Start(exec.Command("sleep", "60"), Options{})
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(path, []byte(strconv.Itoa(p.PID())+"\n"), 0o600); err != nil {
			panic(err)
		}
		_ = p.Wait()
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// start starts a shell script and kills it when t ends.
func start(t *testing.T, script string, options Options) *Process {
	t.Helper()
	p, err := Start(exec.Command("sh", "-c", script), options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Kill()) })
	return p
}

// awaitFile waits until path holds a line and returns it.
func awaitFile(t *testing.T, p *Process, path string) string {
	t.Helper()
	var line string
	require.NoError(t, p.AwaitReady(t.Context(), func(context.Context) error {
		content, err := os.ReadFile(path)
		var complete bool
		if line, _, complete = strings.Cut(string(content), "\n"); err == nil && !complete {
			err = errors.New("no line yet")
		}
		return err
	}))
	return line
}

// state is the letter of a process's state in /proc, or "" if there is none.
func state(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, found := strings.Cut(string(stat), ") ")
	if err != nil || !found || rest[:1] == "Z" {
		return ""
	}
	return rest[:1]
}

func needsProc(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
}

func TestStart_AppendsOutputToTheLogFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for range 2 {
		require.NoError(t, start(t, "echo out; echo err >&2", Options{LogFile: path}).Wait())
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "out\nerr\nout\nerr\n", string(content))
}

func TestStart_NamesTheProgramThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	_, err := Start(exec.Command("/no/such/program"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "start program")
	_, err = Start(exec.Command("true"), Options{LogFile: "/no/such/directory/log"})
	require.ErrorContains(t, err, "open the log of true")
}

func TestStart_ProcessDiesWithItsParent(t *testing.T) {
	t.Parallel()
	needsProc(t)
	path := filepath.Join(t.TempDir(), "pid")
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), holdVariable+"="+path)
	holder, err := Start(command, Options{})
	require.NoError(t, err)
	pid, err := strconv.Atoi(awaitFile(t, holder, path))
	require.NoError(t, err)
	require.NotEmpty(t, state(pid))
	require.NoError(t, holder.Signal(syscall.SIGKILL)) // Kill would end its children too
	require.Error(t, holder.Wait())
	require.Eventually(t, func() bool { return state(pid) == "" }, 5*time.Second, 10*time.Millisecond)
}

func TestProcess_ReportsADeathThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	died := make(chan error, 1)
	p := start(t, "exit 3", Options{Died: func(exit error) { died <- exit }})
	var exit *exec.ExitError
	require.ErrorAs(t, p.Wait(), &exit)
	assert.Equal(t, 3, exit.ExitCode())
	assert.Equal(t, p.Wait(), <-died)
	assert.False(t, p.Running())
}

func TestProcess_DoesNotReportADeathThatWasAskedFor(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Process) error{
		"Stop": func(p *Process) error { return p.Stop(context.Background(), syscall.SIGTERM) },
		"Kill": (*Process).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var died atomic.Bool
			p := start(t, "exec sleep 60", Options{Died: func(error) { died.Store(true) }})
			require.NoError(t, end(p))
			require.Error(t, p.Wait(), "ended by a signal")
			require.NoError(t, end(p), "a second time")
			assert.False(t, died.Load())
		})
	}
}

func TestProcess_Stop(t *testing.T) {
	t.Parallel()
	t.Run("ends a paused process in order", func(t *testing.T) {
		t.Parallel()
		ready := filepath.Join(t.TempDir(), "ready")
		p := start(t, `trap 'kill $!; exit 0' TERM; sleep 60 & echo trapped >`+ready+`; wait`, Options{})
		awaitFile(t, p, ready)
		require.NoError(t, p.Pause())
		require.NoError(t, p.Stop(t.Context(), syscall.SIGTERM))
		require.NoError(t, p.Wait(), "exit status 0")
	})
	t.Run("kills a process that does not end in time", func(t *testing.T) {
		t.Parallel()
		ready := filepath.Join(t.TempDir(), "ready")
		p := start(t, `trap '' TERM; echo trapped >`+ready+`; while :; do sleep 1; done`, Options{})
		awaitFile(t, p, ready)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := p.Stop(ctx, syscall.SIGTERM)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "sh did not stop and was killed")
		assert.False(t, p.Running())
	})
}

func TestProcess_PausesResumesAndKillsItsChildrenToo(t *testing.T) {
	t.Parallel()
	needsProc(t)
	ready := filepath.Join(t.TempDir(), "ready")
	p := start(t, `sleep 60 & echo $! >`+ready+`; wait`, Options{})
	child, err := strconv.Atoi(awaitFile(t, p, ready))
	require.NoError(t, err)
	assert.Equal(t, []int{child}, p.Children())
	paused := func() bool { return state(p.PID()) == "T" && state(child) == "T" }
	sleeping := func() bool { return state(p.PID()) == "S" && state(child) == "S" }
	require.NoError(t, p.Pause())
	require.Eventually(t, paused, 5*time.Second, time.Millisecond)
	require.NoError(t, p.Resume())
	require.Eventually(t, sleeping, 5*time.Second, time.Millisecond)
	require.NoError(t, p.Kill())
	require.Eventually(t, func() bool { return state(child) == "" }, 5*time.Second, time.Millisecond)
	assert.Empty(t, p.Children())
}

func TestProcess_AwaitReady(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	p := start(t, "exec sleep 60", Options{})
	require.NoError(t, p.AwaitReady(t.Context(), RespondsWith(server.URL, http.StatusOK)))
	assert.EqualValues(t, 3, requests.Load())

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := p.AwaitReady(ctx, RespondsWith(server.URL, http.StatusTeapot))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "200 OK", "it says what was the matter last")

	never := func(context.Context) error { return errors.New("never") }
	require.ErrorIs(t, start(t, "exit 0", Options{}).AwaitReady(t.Context(), never), ErrExited)
}
