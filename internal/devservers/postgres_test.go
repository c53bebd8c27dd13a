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

func TestPostgresKeepsItsDataAndItsURLThroughStopAndKill(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testFolder(t))
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

func TestKillingPostgresEndsItsChildren(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testFolder(t))
	require.NoError(t, connect(t.Context(), server.DSN()))
	backends := server.process.Children()
	require.NotEmpty(t, backends)

	require.NoError(t, server.Kill())
	require.Eventually(t, func() bool {
		for _, backend := range backends {
			if hasCwd(backend, server.Folder()) {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond)
}

func TestAPausedPostgresAnswersNobodyUntilItIsResumed(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testFolder(t))
	connection, err := pgx.Connect(t.Context(), server.DSN())
	require.NoError(t, err)
	defer connection.Close(context.Background())

	require.NoError(t, server.Pause())
	answered := make(chan error, 1)
	go func() {
		_, err := connection.Exec(context.Background(), "SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("the paused server responded on an open connection: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	require.NoError(t, server.Resume())
	require.NoError(t, <-answered)

	require.NoError(t, server.Pause())
	require.NoError(t, server.Stop(t.Context()), "stopping a paused server")
}

func TestCreatedDatabasesAreEmptyAndSeparate(t *testing.T) {
	t.Parallel()
	server := startedPostgres(t, testFolder(t))
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

func TestAFolderInUseIsRefused(t *testing.T) {
	t.Parallel()
	folder := testFolder(t)
	first := startedPostgres(t, folder)

	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: folder})
	require.ErrorContains(t, err, "another tracklane uses this data folder")
	require.NoError(t, connect(t.Context(), first.DSN()), "the first one goes on")
}

func TestAPostgresLeftRunningIsStoppedBeforeTheNextOne(t *testing.T) {
	t.Parallel()
	folder := testFolder(t)
	orphan := startedPostgres(t, folder)
	execute(t, orphan.DSN(), "CREATE TABLE kept ()")
	require.NoError(t, orphan.Pause(), "even a paused one")
	orphan.lock.release() // as the operating system does for a process that died

	next := startedPostgres(t, folder)
	<-orphan.process.Done()
	assert.Equal(t, 0, count(t, next.DSN(), "SELECT count(*) FROM kept"))
}

func TestAStalePIDFileThatNamesALivingProcessDoesNotStopTheStart(t *testing.T) {
	t.Parallel()
	folder := testFolder(t)
	server := startedPostgres(t, folder)
	pidFile := filepath.Join(server.Folder(), "postmaster.pid")
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
	require.NoError(t, connect(t.Context(), startedPostgres(t, folder).DSN()))
	require.NoError(t, bystander.Process.Signal(syscall.Signal(0)), "that process is left alone")
}

func TestAnInterruptedInitialisationIsDoneAgain(t *testing.T) {
	t.Parallel()
	folder := testFolder(t)
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "data.unfinished", "base"), 0o755))
	require.NoError(t, connect(t.Context(), startedPostgres(t, folder).DSN()))
}

func TestDataInAFolderThatPostgresCannotEnterIsKeptElsewhere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: other users run PostgreSQL as themselves")
	}
	closed := testFolder(t)
	require.NoError(t, os.Chmod(closed, 0o700))
	folder := filepath.Join(closed, "postgresql")
	server := startedPostgres(t, folder)
	place := filepath.Dir(server.Folder())
	t.Cleanup(func() { os.RemoveAll(place) })
	assert.Equal(t, reachablePlace, filepath.Dir(place))
	execute(t, server.DSN(), "CREATE TABLE kept ()")
	require.NoError(t, server.Stop(t.Context()))

	again := startedPostgres(t, folder)
	assert.Equal(t, 0, count(t, again.DSN(), "SELECT count(*) FROM kept"))
	require.NoError(t, again.Stop(t.Context()))

	require.NoError(t, os.RemoveAll(folder))
	fresh := startedPostgres(t, folder)
	assert.Equal(t, server.Folder(), fresh.Folder())
	assert.Equal(t, 0, count(t, fresh.DSN(), "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"))
}

func TestACancelledStartLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	folder := testFolder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := StartPostgres(ctx, PostgresOptions{Dir: folder})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, connect(t.Context(), startedPostgres(t, folder).DSN()))
}

func TestTheErrorOfAFailedStartSaysWhatPostgresSays(t *testing.T) {
	t.Parallel()
	folder := testFolder(t)
	server := startedPostgres(t, folder)
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(server.Folder(), "postgresql.auto.conf"), []byte("work_mem = enormous\n"), 0o644))

	_, err := StartPostgres(t.Context(), PostgresOptions{Dir: folder})
	require.ErrorContains(t, err, "work_mem")
	require.ErrorContains(t, err, folder)
}

// startedPostgres starts a server in folder and stops it when t ends.
func startedPostgres(t *testing.T, folder string) *Postgres {
	t.Helper()
	server, err := StartPostgres(t.Context(), PostgresOptions{Dir: folder})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	return server
}

// testFolder makes a folder that PostgreSQL's user can enter.
func testFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "tracklane-services-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.Chmod(folder, 0o755))
	return folder
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
