package store

import (
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers/timescale"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

func TestWriter_DropsSecondCopiesInEveryChunkOfTimescaleDB(t *testing.T) {
	t.Parallel()
	url := timescale.Start(t)
	lanes := lane.All(lane.Options{})
	week := make(map[string]migrations.Policy)
	for _, l := range lanes {
		week[l.Table] = migrations.Policy{CompressAfter: 7 * 24 * time.Hour}
	}
	require.NoError(t, migrations.Up(t.Context(), url, week, slog.New(slog.DiscardHandler)))
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = 1
	pool, err := Open(config)
	require.NoError(t, err)
	defer pool.Close()
	w := newTestWriter(pool, lanes)

	for _, l := range lanes {
		t.Run(l.Name, func(t *testing.T) {
			// One point each 6 hours: 25 days.
			spread := func(from, to int) *lane.Points {
				points := flight(l, 1, from, to)
				for row := range points.Rows {
					points.Rows[row].Time = firstTime + int64(from+row)*6*3600*1_000_000
				}
				return points
			}
			write := func(points *lane.Points, want Result) {
				t.Helper()
				got, err := w.Write(t.Context(), points, "") // few enough not to be copied
				require.NoError(t, err)
				assert.Equal(t, want, got)
			}
			write(spread(0, 90), Result{Inserted: 90})
			write(spread(10, 100), Result{Inserted: 10, Duplicates: 80})

			var chunks int
			require.NoError(t, pool.QueryRow(t.Context(),
				`SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = $1`, l.Table).Scan(&chunks))
			assert.Greater(t, chunks, 3)
			_, err := pool.Exec(t.Context(), `SELECT compress_chunk(chunk) FROM show_chunks($1::regclass) AS chunk`, l.Table)
			require.NoError(t, err)
			write(spread(0, 99), Result{Duplicates: 99})
			late := spread(40, 60)
			for row := range late.Rows {
				late.Rows[row].Lon = 8
			}
			write(late, Result{Inserted: 20})
			assert.Equal(t, 120, countRows(t, pool, l.Table))
		})
	}
	status, err := NewDatabase(pool, lanes).Check(t.Context())
	require.NoError(t, err)
	assert.Equal(t, DatabaseStatus{TimescaleDB: true, Writable: true}, status)
}
