package store

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

// overDays returns points of a flight, one each day, and of another flight on the
// first of them.
func overDays(l *lane.Lane, days, others int) *lane.Points {
	lists := []*lane.Points{flight(l, 1, 0, days), flight(l, 2, 0, others)}
	for row := range lists[0].Rows {
		lists[0].Rows[row].Time = firstTime + int64(row)*86_400_000_000
	}
	return lane.Merge(lists)
}

// leaveLocks takes the locks that a server has room for but this many, until they
// are released.
func leaveLocks(t *testing.T, pool *pgxpool.Pool, room int) (release func()) {
	t.Helper()
	holder, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	for taken := 0; err == nil; taken += 100 {
		_, err = holder.Exec(t.Context(), `SELECT pg_advisory_lock(n) FROM generate_series($1::int + 1, $1 + 100) AS n`, taken)
	}
	require.ErrorContains(t, err, "53200")
	_, err = holder.Exec(t.Context(), `SELECT pg_advisory_unlock(n) FROM generate_series(1, $1::int) AS n`, room)
	require.NoError(t, err)
	release = sync.OnceFunc(func() {
		_, err := holder.Exec(context.Background(), `SELECT pg_advisory_unlock_all()`)
		assert.NoError(t, err)
		holder.Release()
	})
	t.Cleanup(release)
	return release
}

// Each chunk of a hypertable is a table that has to be locked.
func TestWriter_DividesABatchOverMoreChunksThanCanBeLocked(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t, devservers.PostgresOptions{})
	pool := openPool(t, server.DSN())
	require.NoError(t, migrations.Up(t.Context(), server.DSN(), nil, slog.New(slog.DiscardHandler)))
	release := leaveLocks(t, pool, 250)

	lanes := lane.All(lane.Options{})
	l := lanes[0]
	const days, others = 300, 50
	write := func() Result {
		result, err := NewWriter(pool, lanes, days+others, nil).Write(t.Context(), overDays(l, days, others), "task")
		require.NoError(t, err)
		return result
	}
	assert.Equal(t, Result{Inserted: days + others}, write())
	assert.Equal(t, Result{Duplicates: days + others}, write())
	release()
	assert.Equal(t, days+others, countRows(t, pool, l.Table))
}

func TestWriter_MakesFewChunksInATransaction(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	seen := watchStatements(t, pool, l)
	w := newTestWriter(pool, lanes)
	result, err := w.Write(t.Context(), overDays(l, 700, 300), "task")
	require.NoError(t, err)
	assert.Equal(t, Result{Inserted: 1000}, result)
	for _, s := range seen() {
		assert.LessOrEqual(t, s.Rows, 300+100, "100 days")
	}

	_, err = w.Write(t.Context(), overDays(l, 10, 990), "task")
	require.NoError(t, err)
	assert.Len(t, seen(), 1, "few days are written at once")
}

func TestSplitByTime(t *testing.T) {
	t.Parallel()
	l := lane.All(lane.Options{})[0]
	for name, c := range map[string]struct{ times, before, after []int64 }{
		"one":                   {[]int64{1}, nil, []int64{1}},
		"all at one time":       {[]int64{2, 2, 2}, nil, []int64{2, 2, 2}},
		"in the order they had": {[]int64{1, 4, 2, 3}, []int64{1, 2}, []int64{4, 3}},
		"many at first":         {[]int64{1, 1, 1, 1, 5, 7}, []int64{1, 1, 1, 1}, []int64{5, 7}},
		"many at last":          {[]int64{1, 5, 5, 5}, []int64{1}, []int64{5, 5, 5}},
		"one before many":       {[]int64{5, 5, 9}, []int64{5, 5}, []int64{9}},
	} {
		t.Run(name, func(t *testing.T) {
			points := lane.NewPoints(l, 0)
			track := points.AddTrack(newTrack(l, 1))
			for _, at := range c.times {
				points.Add(track, at, 46, 7)
			}
			before, after := splitByTime(points)
			for want, part := range map[*[]int64]*lane.Points{&c.before: before, &c.after: after} {
				var times []int64
				for _, row := range part.Rows {
					times = append(times, row.Time)
				}
				assert.Equal(t, *want, times)
			}
		})
	}
}

// On a machine without TimescaleDB a trigger stands for the server's limit.
func TestWriter_GivesUpWhereOnePointIsTooMuch(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	_, err := pool.Exec(t.Context(), `
		CREATE SEQUENCE statements;
		CREATE FUNCTION limit_locks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM nextval('statements');
			IF (SELECT max(datetime) - min(datetime) FROM added) >= TG_ARGV[0]::interval THEN
				RAISE EXCEPTION 'out of shared memory' USING ERRCODE = '53200';
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER limit_locks AFTER INSERT ON live_track_points
			REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION limit_locks('3 days')`)
	require.NoError(t, err)
	w := newTestWriter(pool, lanes)
	result, err := w.Write(t.Context(), overDays(l, 40, 50), "task")
	require.NoError(t, err)
	assert.Equal(t, Result{Inserted: 90}, result)

	_, err = pool.Exec(t.Context(), `
		DROP TRIGGER limit_locks ON live_track_points;
		CREATE TRIGGER limit_locks AFTER INSERT ON live_track_points
			REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION limit_locks('0 days');
		ALTER SEQUENCE statements RESTART;
		TRUNCATE live_track_points`)
	require.NoError(t, err)
	_, err = w.Write(t.Context(), overDays(l, 64, 0), "task")
	require.ErrorContains(t, err, "53200")
	var statements int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT last_value FROM statements`).Scan(&statements))
	assert.Equal(t, 7, statements, "each fails with half of the points of the one before")
	assert.Zero(t, countRows(t, pool, "rejected_points"))
}
