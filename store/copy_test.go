package store

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// openToCopy returns a database with its tables, and a writer to one of them.
func openToCopy(t *testing.T) (*pgxpool.Pool, *Writer, *lane.Lane) {
	t.Helper()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	return pool, newTestWriter(pool, lanes), lanes[0]
}

func TestWriter_CopyInIsOneTransaction(t *testing.T) {
	t.Parallel()
	pool, w, l := openToCopy(t)
	_, err := w.Write(t.Context(), flight(l, 1, 900, 1000), "")
	require.NoError(t, err)

	points := flight(l, 1, 0, 1000) // the last 100 are there
	require.ErrorContains(t, w.copyIn(t.Context(), w.tables[l.Name], points), "23505")
	require.Equal(t, 100, countRows(t, pool, l.Table))
	require.NoError(t, w.copyIn(t.Context(), w.tables[l.Name], flight(l, 1, 0, 900)), "the connection is still good")
	require.Equal(t, 1000, countRows(t, pool, l.Table))
}

func TestWriter_CopyInFailsWithoutItsTable(t *testing.T) {
	t.Parallel()
	pool, w, l := openToCopy(t)
	_, err := pool.Exec(t.Context(), "ALTER TABLE "+l.Table+" RENAME TO renamed")
	require.NoError(t, err)
	for range 20 { // more than there are connections
		require.ErrorContains(t, w.copyIn(t.Context(), w.tables[l.Name], flight(l, 1, 0, 1000)), "42P01")
	}
	_, err = pool.Exec(t.Context(), "ALTER TABLE renamed RENAME TO "+l.Table)
	require.NoError(t, err)
	require.NoError(t, w.copyIn(t.Context(), w.tables[l.Name], flight(l, 1, 0, 1000)))
}

func TestRoundTrip_ClosesItsConnectionWhenGivenUp(t *testing.T) {
	t.Parallel()
	pool, w, l := openToCopy(t)
	locked, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = locked.Exec(t.Context(), "LOCK TABLE "+l.Table)
	require.NoError(t, err)

	// More than the buffers of a socket hold: it waits while sending.
	messages := w.tables[l.Name].appendCopyMessages(nil, flight(l, 1, 0, 100_000))
	for range pool.Config().MaxConns + 1 {
		connection, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		assert.ErrorContains(t, roundTrip(ctx, connection.Conn().PgConn(), messages), "timeout")
		cancel()
		assert.True(t, connection.Conn().IsClosed())
		connection.Release()
	}
	require.NoError(t, locked.Rollback(t.Context()))
	require.NoError(t, w.copyIn(t.Context(), w.tables[l.Name], flight(l, 1, 0, 1000)))
	require.Equal(t, 1000, countRows(t, pool, l.Table))
}
