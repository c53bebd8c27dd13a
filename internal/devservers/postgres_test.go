package devservers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPostgres_KeepsItsDataAndURLThroughStopAndKill(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testDir(t))
	url := server.DSN()
	execute(t, url, "CREATE TABLE kept (number int)")

	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Stop(t.Context()), "stopping twice")
	require.Error(t, connect(t.Context(), url))
	require.NoError(t, server.Restart(t.Context()))
	execute(t, url, "INSERT INTO kept VALUES (1)")

	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	execute(t, url, "INSERT INTO kept VALUES (2)")
	assert.Equal(t, 2, count(t, url, "SELECT count(*) FROM kept"))
	assert.Equal(t, url, server.DSN())
	assert.ErrorContains(t, server.Restart(t.Context()), "stop it first")
}

func TestPostgres_KillEndsItsChildren(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testDir(t))
	require.NoError(t, connect(t.Context(), server.DSN()))
	backends := server.process.Children()
	require.NotEmpty(t, backends)

	require.NoError(t, server.Kill())
	require.Eventually(t, func() bool {
		for _, backend := range backends {
			if hasCwd(backend, server.Dir()) {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond)
}

func TestPostgres_RespondsToNobodyWhilePaused(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testDir(t))
	connection, err := pgx.Connect(t.Context(), server.DSN())
	require.NoError(t, err)
	defer connection.Close(context.Background())

	require.NoError(t, server.Pause())
	done := make(chan error, 1)
	go func() {
		_, err := connection.Exec(context.Background(), "SELECT 1")
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the paused server responded on an open connection: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	require.NoError(t, server.Resume())
	require.NoError(t, <-done)

	require.NoError(t, server.Pause())
	require.NoError(t, server.Stop(t.Context()), "stopping a paused server")
}

func TestPostgres_CreatesEmptySeparateDatabases(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testDir(t))
	one, err := server.CreateDatabase(t.Context(), "one")
	require.NoError(t, err)
	two, err := server.CreateDatabase(t.Context(), "two")
	require.NoError(t, err)
	execute(t, one, "CREATE TABLE here ()")
	execute(t, two, "CREATE TABLE here ()")

	open, err := pgx.Connect(t.Context(), one)
	require.NoError(t, err)
	defer open.Close(context.Background())
	require.NoError(t, server.DropDatabase(t.Context(), "one"), "with a connection open")
	require.Error(t, connect(t.Context(), one))
	require.NoError(t, connect(t.Context(), two))
	_, err = server.CreateDatabase(t.Context(), "two")
	assert.ErrorContains(t, err, "create database two")
}

func TestStartPostgres_RefusesADirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	first := startedPostgres(t, dir)

	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	require.ErrorContains(t, err, "another tracklane uses this data directory")
	require.NoError(t, connect(t.Context(), first.DSN()), "the first one goes on")
}

func TestStartPostgres_StopsTheOneLeftRunning(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	orphan := startedPostgres(t, dir)
	execute(t, orphan.DSN(), "CREATE TABLE kept ()")
	require.NoError(t, orphan.Pause(), "even a paused one")
	orphan.lock.release() // as the operating system does for a process that died

	next := startedPostgres(t, dir)
	<-orphan.process.Done()
	assert.Equal(t, 0, count(t, next.DSN(), "SELECT count(*) FROM kept"))
}

func TestStartPostgres_IgnoresAStalePIDFile(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	server := startedPostgres(t, dir)
	pidFile := filepath.Join(server.Dir(), "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	require.NoError(t, server.Stop(t.Context()))

	bystander := exec.Command("sleep", "60")
	require.NoError(t, bystander.Start())
	defer func() {
		bystander.Process.Kill()
		bystander.Wait()
	}()
	_, rest, _ := strings.Cut(string(content), "\n")
	require.NoError(t, os.WriteFile(pidFile, []byte(strconv.Itoa(bystander.Process.Pid)+"\n"+rest), 0o600))
	require.NoError(t, connect(t.Context(), startedPostgres(t, dir).DSN()))
	require.NoError(t, bystander.Process.Signal(syscall.Signal(0)), "that process is left alone")
}

func TestStartPostgres_RepeatsAnInterruptedInitialisation(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data.unfinished", "base"), 0o755))
	require.NoError(t, connect(t.Context(), startedPostgres(t, dir).DSN()))
}

func TestStartPostgres_KeepsDataElsewhereIfItsUserCannotEnterTheDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: other users run PostgreSQL as themselves")
	}
	closed := testDir(t)
	require.NoError(t, os.Chmod(closed, 0o700))
	dir := filepath.Join(closed, "postgresql")
	server := startedPostgres(t, dir)
	place := filepath.Dir(server.Dir())
	t.Cleanup(func() { os.RemoveAll(place) })
	assert.Equal(t, reachablePlace, filepath.Dir(place))
	execute(t, server.DSN(), "CREATE TABLE kept ()")
	require.NoError(t, server.Stop(t.Context()))

	again := startedPostgres(t, dir)
	assert.Equal(t, 0, count(t, again.DSN(), "SELECT count(*) FROM kept"))
	require.NoError(t, again.Stop(t.Context()))

	require.NoError(t, os.RemoveAll(dir))
	fresh := startedPostgres(t, dir)
	assert.Equal(t, server.Dir(), fresh.Dir())
	assert.Equal(t, 0, count(t, fresh.DSN(), "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"))
}

func TestStartPostgres_LeavesNothingBehindWhenCancelled(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := StartPostgres(ctx, PostgresOptions{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, connect(t.Context(), startedPostgres(t, dir).DSN()))
}

func TestStartPostgres_ErrorSaysWhatPostgresSays(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	server := startedPostgres(t, dir)
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(server.Dir(), "postgresql.auto.conf"), []byte("work_mem = enormous\n"), 0o644))

	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	require.ErrorContains(t, err, "work_mem")
	require.ErrorContains(t, err, dir)
}

// startedPostgres starts a server in directory and stops it when t ends.
func startedPostgres(t *testing.T, dir string) *Postgres {
	t.Helper()
	server, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	return server
}

// testDir makes a directory that PostgreSQL's user can enter.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tracklane-services-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func connect(ctx context.Context, url string) error {
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return connection.Close(ctx)
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer connection.Close(context.Background())
	_, err = connection.Exec(t.Context(), statement)
	require.NoError(t, err)
}

func count(t *testing.T, url, query string) (n int) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer connection.Close(context.Background())
	require.NoError(t, connection.QueryRow(t.Context(), query).Scan(&n))
	return n
}
