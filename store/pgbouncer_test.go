package store

import (
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

func TestWriter_WorksThroughAPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	pooler, err := devservers.StartPgBouncer(t.Context(), devservers.PgBouncerOptions{
		Dir: t.TempDir(), Database: servers.Database(t), PoolSize: 2,
	})
	if errors.Is(err, devservers.ErrNoPgBouncer) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, pooler.Kill()) })
	url := pooler.URL()
	for range 2 {
		require.NoError(t, migrations.Up(t.Context(), url, nil, slog.New(slog.DiscardHandler)))
	}
	status, err := migrations.ReadStatus(t.Context(), url)
	require.NoError(t, err)
	assert.Len(t, status.Migrations, 5)

	pool := openPool(t, url)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	var writing sync.WaitGroup
	for id := range 8 {
		writing.Go(func() {
			for round := range 10 {
				_, err := w.Write(t.Context(), flight(lanes[0], id, round*200, round*200+150), "") // copied
				assert.NoError(t, err)
				_, err = w.Write(t.Context(), flight(lanes[1], id, round*10, round*10+10), "") // inserted
				assert.NoError(t, err)
				_, err = NewDatabase(pool, lanes).Check(t.Context())
				assert.NoError(t, err)
				assert.NoError(t, w.RejectPayload(t.Context(), lanes[0], []byte{byte(id), byte(round)}, errors.New("unreadable"), ""))
			}
		})
	}
	writing.Wait()
	assert.Equal(t, 8*10*150, countRows(t, pool, lanes[0].Table))
	assert.Equal(t, 8*10*10, countRows(t, pool, lanes[1].Table))
	assert.Equal(t, 8*10, countRows(t, pool, "rejected_points"))
}
