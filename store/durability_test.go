package store

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

func TestWriter_CommitsSynchronouslyWhateverTheServerDoes(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, devservers.PostgresOptions{})
	require.NoError(t, migrations.Up(t.Context(), server.DSN(), nil, slog.New(slog.DiscardHandler)))
	pool := openPool(t, server.DSN())
	for _, setting := range []string{"synchronous_commit = off", "wal_writer_delay = '10s'"} {
		_, err := pool.Exec(t.Context(), "ALTER SYSTEM SET "+setting)
		require.NoError(t, err)
	}
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	pool.Reset()

	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	// What is killed right after each kind of write has to keep that write.
	for name, write := range map[string]func() error{
		"COPY":     func() error { _, err := w.Write(t.Context(), flight(lanes[0], 1, 0, 500), ""); return err },
		"INSERT":   func() error { _, err := w.Write(t.Context(), flight(lanes[1], 1, 0, 50), ""); return err },
		"rejected": func() error { return w.RejectPayload(t.Context(), lanes[0], []byte{1}, errors.New("unreadable"), "") },
	} {
		require.NoError(t, write(), name)
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart(t.Context()))
		pool.Reset()
	}
	assert.Equal(t, 500, countRows(t, pool, lanes[0].Table))
	assert.Equal(t, 50, countRows(t, pool, lanes[1].Table))
	assert.Equal(t, 1, countRows(t, pool, "rejected_points"))
}
