package store

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/migrations"
)

// listedFlights lists the directory.
func listedFlights(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT concat_ws(' ', lane, flight_id, day, pilot_id, race_id) FROM flights ORDER BY 1`)
	require.NoError(t, err)
	listed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return listed
}

// Connections that were idle when a server failed are made anew without an error.
func TestDirectory_ListsAFlightOnTheServerThatTookOverUnnoticed(t *testing.T) {
	t.Parallel()
	before, after := openMigrated(t), openMigrated(t)
	config, err := pgxpool.ParseConfig(before.Config().ConnString())
	require.NoError(t, err)
	var failedOver atomic.Bool
	config.BeforeConnect = func(_ context.Context, connection *pgx.ConnConfig) error {
		if failedOver.Load() {
			connection.Database = after.Config().ConnConfig.Database
		}
		return nil
	}
	pool, err := Open(config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	write := func(minute int) {
		_, err := w.Write(t.Context(), way(lanes[0], "f", "anna", "cup", noon.Add(time.Duration(minute)*time.Minute), 3), "")
		require.NoError(t, err)
	}
	write(0)
	write(1)
	require.Equal(t, []string{"live f 2026-07-14 anna cup"}, listedFlights(t, before))
	failedOver.Store(true)
	pool.Reset()
	write(2)
	assert.Equal(t, 3, countRows(t, after, "live_track_points"))
	assert.Equal(t, []string{"live f 2026-07-14 anna cup"}, listedFlights(t, after), "by the write that met the new server")
}

// A pooler keeps its clients' connections when it finds another server.
func TestDirectory_LooksAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	write := func(minute int) {
		_, err := w.Write(t.Context(), way(lanes[0], "f", "", "", noon.Add(time.Duration(minute)*time.Minute), 3), "")
		require.NoError(t, err)
	}
	write(0)
	write(1)
	_, err := pool.Exec(t.Context(), `TRUNCATE flights`)
	require.NoError(t, err)
	write(2)
	require.Empty(t, listedFlights(t, pool), "a known flight costs no query")
	w.directory.mu.Lock()
	w.directory.forgotten = w.directory.forgotten.Add(-directoryRefresh)
	w.directory.mu.Unlock()
	write(3)
	assert.Len(t, listedFlights(t, pool), 1)
}

func TestDirectory_StoresPointsThatItCannotList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ statement, code string }{
		"no table":     {`DROP TABLE flights`, pgerrcode.UndefinedTable},
		"no privilege": {`REVOKE INSERT ON flights FROM CURRENT_USER`, pgerrcode.InsufficientPrivilege},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := openMigrated(t)
			asRole(t, pool)
			lanes := lane.All(lane.Options{})
			status, err := NewDatabase(pool, lanes).Check(t.Context())
			require.NoError(t, err)
			require.False(t, status.NoFlights)
			_, err = pool.Exec(t.Context(), c.statement)
			require.NoError(t, err)
			var unlisted error
			w := NewWriter(pool, lanes, testMaxPoints, func(_ *lane.Points, result Result, _ time.Duration, _ error) { unlisted = result.Unlisted })
			_, err = w.Write(t.Context(), way(lanes[0], "f", "", "", noon, 3), "")
			require.NoError(t, err)
			assert.Equal(t, 3, countRows(t, pool, "live_track_points"))
			var refused *pgconn.PgError
			require.ErrorAs(t, unlisted, &refused)
			assert.Equal(t, c.code, refused.Code)
			status, err = NewDatabase(pool, lanes).Check(t.Context())
			require.NoError(t, err)
			assert.True(t, status.Writable)
			assert.True(t, status.NoFlights)
		})
	}
}

// asRole makes every connection of a pool one of a role of its own, that owns all
// tables: a superuser may do everything.
func asRole(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	role := pgx.Identifier{"owner_of_" + pool.Config().ConnConfig.Database}.Sanitize()
	database := pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()
	_, err := pool.Exec(t.Context(), `CREATE ROLE `+role+`; GRANT ALL ON ALL TABLES IN SCHEMA public TO `+role+`;
		ALTER TABLE flights OWNER TO `+role+`; GRANT ALL ON SCHEMA public TO `+role+`; ALTER DATABASE `+database+` SET role = `+role)
	require.NoError(t, err)
	pool.Reset()
}

// openWithPlainTable is openMigrated, but the lane live's table is a plain one.
func openWithPlainTable(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := openMigrated(t)
	_, err := pool.Exec(t.Context(), `DROP TABLE live_track_points; CREATE TABLE live_track_points (LIKE uploaded_track_points INCLUDING ALL)`)
	require.NoError(t, err)
	return pool
}

// writeOlder writes points as they were before there was a directory.
func writeOlder(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		INSERT INTO live_track_points (flight_id, datetime, lat, lon, pilot_id, race_id, received_at)
		SELECT 'night', timestamptz '2026-07-14 23:59:58Z' + n * interval '1 second', 46, 7, 'anna', NULL, now() FROM generate_series(0, 3) n;
		INSERT INTO live_track_points (flight_id, datetime, lat, lon, pilot_id, race_id, received_at)
		SELECT 'f' || n, timestamptz '2026-07-16 12:00Z', 46, 7, 'ben', 'cup', now() FROM generate_series(1, 200) n;
		INSERT INTO flymaster (device_id, date_time, lat, lon, received_at) VALUES (42, '2026-07-14 01:00+02', 46, 7, now());
		INSERT INTO scoring_tracks (flight_uuid, date_time, lat, lon, received_at)
		VALUES ('6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e', '2026-07-14 11:00Z', 46, 7, now());
		INSERT INTO flights VALUES ('live', 'night', '2026-07-15', 'anna', '')`)
	require.NoError(t, err)
}

// Several processes at once, whichever tables the server has.
func TestListOlderFlights_ListsTheFlightsOfAllLanesOnce(t *testing.T) {
	t.Parallel()
	for name, pool := range map[string]*pgxpool.Pool{"plain": openWithPlainTable(t), "as the server has them": openMigrated(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lanes := lane.All(lane.Options{})
			writeOlder(t, pool)
			var listing sync.WaitGroup
			for range 3 {
				listing.Go(func() {
					o := &older{pool: pool, logger: slog.New(slog.DiscardHandler), blocks: 1}
					assert.NoError(t, o.list(t.Context(), lanes))
				})
			}
			listing.Wait()
			listed := listedFlights(t, pool)
			assert.Len(t, listed, 200+4)
			assert.Subset(t, listed, []string{
				"flymaster 42-20260713 2026-07-13  ", "live f1 2026-07-16 ben cup", "live f200 2026-07-16 ben cup",
				"live night 2026-07-14 anna ", "live night 2026-07-15 anna ",
				"scoring 6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e 2026-07-14  ",
			})
			assert.Equal(t, 4, countRows(t, pool, "flights_filled WHERE part = ''"))
			assert.GreaterOrEqual(t, countRows(t, pool, "flights_filled WHERE part <> '' AND lane = 'live'"), 2, "part by part")
			_, err := pool.Exec(t.Context(), `TRUNCATE flights`)
			require.NoError(t, err)
			ListOlderFlights(t.Context(), pool, lanes, slog.New(slog.DiscardHandler))
			assert.Empty(t, listedFlights(t, pool), "they are looked for once")
		})
	}
}

// A listing that ends half-way goes on with the parts that are left.
func TestListOlderFlights_GoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	pool := openWithPlainTable(t)
	lanes := lane.All(lane.Options{})[:1]
	writeOlder(t, pool)
	_, err := pool.Exec(t.Context(), `INSERT INTO flights_filled (lane, part) VALUES ('live', 'blocks 0 to 0')`)
	require.NoError(t, err)
	o := &older{pool: pool, logger: slog.New(slog.DiscardHandler), blocks: 1}
	require.NoError(t, o.list(t.Context(), lanes))
	listed := listedFlights(t, pool)
	assert.NotContains(t, listed, "live night 2026-07-14 anna ", "of the first block")
	assert.Contains(t, listed, "live f200 2026-07-16 ben cup", "of the last block")
}

func TestUp_LeavesOlderFlightsToTheWorkers(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	writeOlder(t, pool)
	require.NoError(t, migrations.Up(t.Context(), pool.Config().ConnString(), nil, slog.New(slog.DiscardHandler)))
	assert.Len(t, listedFlights(t, pool), 1)
	assert.Zero(t, countRows(t, pool, "flights_filled"))
}
