package harness

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/process"
)

func TestSystem_RunsTracklane(t *testing.T) {
	t.Parallel()
	redisDirs := ""
	release := func() error { return os.RemoveAll(redisDirs) }
	s, err := Open(t.Context(), Options{Name: "harness-test", RedisDirs: func(dir string) (string, func() error, error) {
		redisDirs = filepath.Join(dir, "elsewhere")
		return redisDirs, release, os.Mkdir(redisDirs, 0o755)
	}})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, s.Stop())
		assert.NoDirExists(t, redisDirs, "it was not released")
		assert.NoError(t, s.Remove())
		assert.NoDirExists(t, s.Dir)
	})
	assert.FileExists(t, filepath.Join(redisDirs, "redis", "redis.log"))
	require.NoError(t, s.Migrate(t.Context()))

	pool, err := pgxpool.New(t.Context(), s.Postgres.DSN())
	require.NoError(t, err)
	defer pool.Close()
	machine, err := s.ThisMachine(t.Context(), pool)
	require.NoError(t, err)
	assert.Positive(t, machine.Cores)
	assert.Contains(t, machine.String(), "PostgreSQL "+s.Postgres.Version())

	address, err := FreeAddress()
	require.NoError(t, err)
	program := &Program{StopTimeout: time.Minute, Died: func(err error) { t.Error(err) }, Command: func() *exec.Cmd {
		command := exec.Command(s.Binary, "serve")
		command.Env = s.Environment("HTTP_ADDR=" + address)
		return command
	}}
	require.NoError(t, program.Restart(t.Context()))
	require.NoError(t, program.AwaitResponse(t.Context(), "http://"+address+"/readyz", http.StatusOK))
	require.NoError(t, program.Stop(t.Context()))
}

func TestProgram_ReportsAnEndThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	died := make(chan error, 1)
	p := &Program{
		Command: func() *exec.Cmd { return exec.Command("sleep", "0") }, Died: func(err error) { died <- err },
		LogFile: filepath.Join(t.TempDir(), "sleep.log"),
	}
	require.NoError(t, p.Restart(t.Context()))
	select {
	case err := <-died:
		require.ErrorContains(t, err, "sleep 0 ended by itself")
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was reported")
	}
}

func TestProgram_DoesNotReportAnEndThatWasAskedFor(t *testing.T) {
	t.Parallel()
	p := &Program{
		Command: func() *exec.Cmd { return exec.Command("sleep", "600") }, Died: func(err error) { t.Error(err) },
		LogFile: filepath.Join(t.TempDir(), "sleep.log"), StopTimeout: time.Minute,
	}
	require.NoError(t, p.Restart(t.Context()))
	require.NoError(t, p.Pause())
	require.NoError(t, p.Resume())
	require.NoError(t, p.Kill())
	require.NoError(t, p.Restart(t.Context()))
	require.ErrorContains(t, p.Stop(t.Context()), "by SIGTERM", "sleep does not stop in order")
}

func TestProgram_AwaitResponseEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	p := &Program{Command: func() *exec.Cmd { return exec.Command("false") }, Died: func(error) {}}
	require.NoError(t, p.Restart(t.Context()))
	require.ErrorIs(t, p.AwaitResponse(t.Context(), "http://127.0.0.1:1/", http.StatusOK), process.ErrExited)
}
