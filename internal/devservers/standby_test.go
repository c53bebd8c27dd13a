package devservers

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPostgres_StandbyHasAllThatItsPrimaryCommitted(t *testing.T) {
	t.Parallel()
	primary := startedPostgres(t, testDir(t))
	execute(t, primary.DSN(), "CREATE TABLE kept (number int)")
	standby := startedStandby(t, testDir(t), primary)
	execute(t, primary.DSN(), "INSERT INTO kept VALUES (1)")
	refused, err := pgx.Connect(t.Context(), standby.DSN())
	require.NoError(t, err)
	defer refused.Close(context.Background())
	_, err = refused.Exec(t.Context(), "INSERT INTO kept VALUES (2)")
	require.ErrorContains(t, err, "25006", "it is read-only")

	require.NoError(t, primary.Kill())
	require.NoError(t, standby.Promote(t.Context()))
	assert.Equal(t, 1, count(t, standby.DSN(), "SELECT count(*) FROM kept"))
	execute(t, standby.DSN(), "INSERT INTO kept VALUES (2)")
	require.NoError(t, standby.Stop(t.Context()))
	require.NoError(t, standby.Restart(t.Context()))
	execute(t, standby.DSN(), "INSERT INTO kept VALUES (3)")

	next := startedStandby(t, testDir(t), standby)
	assert.Equal(t, 3, count(t, next.DSN(), "SELECT count(*) FROM kept"))
}

func TestPostgres_CommitsWaitForTheStandby(t *testing.T) {
	t.Parallel()
	primary := startedPostgres(t, testDir(t))
	standby := startedStandby(t, testDir(t), primary)
	require.NoError(t, standby.Pause())
	connection, err := pgx.Connect(t.Context(), primary.DSN())
	require.NoError(t, err)
	defer connection.Close(context.Background())
	committed := make(chan error, 1)
	go func() {
		_, err := connection.Exec(context.Background(), "CREATE TABLE kept ()")
		committed <- err
	}()
	select {
	case err := <-committed:
		t.Fatalf("it was committed without the standby: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	require.NoError(t, primary.CommitAlone(t.Context()))
	require.NoError(t, <-committed)
	require.NoError(t, standby.Resume())
}

// startedStandby starts a standby of a server and kills it when t ends.
func startedStandby(t *testing.T, dir string, primary *Postgres) *Postgres {
	t.Helper()
	standby, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir, StandbyOf: primary.DSN()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, standby.Kill()) })
	return standby
}
