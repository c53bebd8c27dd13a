package migrations

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
)

// servers is set by TestMain and never again.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

func TestReadStatus_OfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)

	for range 2 { // looking changes nothing
		status, err := ReadStatus(t.Context(), databaseURL)
		require.NoError(t, err)
		assert.Equal(t, []Migration{{Version: 1, Name: "points"}, {Version: 2, Name: "rejected_points"}, {Version: 3, Name: "rejected_once"}, {Version: 4, Name: "flights"}, {Version: 5, Name: "older_flights"}}, status.Migrations)
		assert.Empty(t, status.Hypertables)
		assert.Empty(t, status.PlainTables)
		require.NotEmpty(t, status.Advice)
		assert.Equal(t, "5 of 5 migrations are pending: run `tracklane migrate up`.", status.Advice[0])
	}
	withDatabase(t, databaseURL, func(db *sql.DB) {
		assert.Empty(t, queryStrings(t, db, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`))
	})
}

func TestUp_TwiceIsOnce(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	start := time.Now()

	assert.Contains(t, up(t, databaseURL, weekly()), "migration applied")
	first, err := ReadStatus(t.Context(), databaseURL)
	require.NoError(t, err)
	require.Len(t, first.Migrations, 5)
	for _, m := range first.Migrations {
		assert.WithinDuration(t, start, m.AppliedAt, time.Minute)
	}
	assert.Len(t, append(first.Hypertables, first.PlainTables...), len(lane.All(lane.Options{})))
	assert.Empty(t, first.Advice)

	assert.NotContains(t, up(t, databaseURL, weekly()), "migration applied")
	second, err := ReadStatus(t.Context(), databaseURL)
	require.NoError(t, err)
	assert.Equal(t, first, second)
}

func TestUp_ByTenProcessesAtOnce(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	results := make(chan error, 10)
	begin := make(chan struct{})
	for range cap(results) {
		go func() {
			<-begin
			results <- Up(ctx, databaseURL, weekly(), slog.New(slog.DiscardHandler))
		}()
	}
	close(begin)
	for range cap(results) {
		assert.NoError(t, <-results)
	}
	withDatabase(t, databaseURL, func(db *sql.DB) {
		assert.Equal(t, []string{"0", "1", "2", "3", "4", "5"},
			queryStrings(t, db, `SELECT version_id FROM goose_db_version ORDER BY id`), "each was applied once")
	})
}

func TestUp_MakesTablesInPublicWhateverTheSearchPath(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	withDatabase(t, databaseURL, func(db *sql.DB) {
		_, err := db.ExecContext(t.Context(), `CREATE SCHEMA elsewhere`)
		require.NoError(t, err)
	})
	separator := "?"
	if strings.Contains(databaseURL, "?") {
		separator = "&"
	}
	up(t, databaseURL+separator+"search_path=elsewhere", weekly())
	withDatabase(t, databaseURL, func(db *sql.DB) {
		assert.Empty(t, queryStrings(t, db, `SELECT tablename FROM pg_tables WHERE schemaname = 'elsewhere'`))
		assert.NotEmpty(t, queryStrings(t, db, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`))
	})
}

// hold takes the lock as a process in the middle of Up has it, until the test
// ends, and returns the id of the session.
func hold(t *testing.T, databaseURL string) (backend string) {
	t.Helper()
	db, err := open(t.Context(), databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	transaction, err := db.BeginTx(context.Background(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = transaction.Rollback() })
	require.NoError(t, transaction.QueryRowContext(t.Context(),
		`SELECT pg_backend_pid()::text FROM pg_advisory_xact_lock($1)`, int64(lockKey)).Scan(&backend))
	return backend
}

func TestUp_WaitsForAnotherProcessUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	hold(t, databaseURL)

	ctx, cancel := context.WithTimeout(t.Context(), lockNotice+time.Second)
	defer cancel()
	var lines bytes.Buffer
	err := Up(ctx, databaseURL, weekly(), slog.New(slog.NewTextHandler(&lines, nil)))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, 1, strings.Count(lines.String(), "another process is migrating the schema"), lines.String())

	_, err = ReadStatus(t.Context(), databaseURL)
	assert.NoError(t, err, "looking does not wait")
}

func TestUp_IsNotHeldUpByAProcessThatDied(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	backend := hold(t, databaseURL)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waiting := make(chan struct{})
	logger := slog.New(slog.NewTextHandler(writerFunc(func(line []byte) {
		if bytes.Contains(line, []byte("waiting for it")) {
			close(waiting)
		}
	}), nil))
	result := make(chan error, 1)
	go func() { result <- Up(ctx, databaseURL, weekly(), logger) }()
	<-waiting
	withDatabase(t, databaseURL, func(db *sql.DB) {
		queryStrings(t, db, `SELECT pg_terminate_backend($1::int)`, backend)
	})
	assert.NoError(t, <-result)
}

// writerFunc is an io.Writer of a function.
type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestUp_ErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	for name, databaseURL := range map[string]string{
		"a password with a bare percent sign": "postgres://user:hush%hush@localhost/db",
		"a port that is no number":            "postgres://user:hush@localhost:port/db",
		"keywords":                            "host=localhost password=hush port=none",
		"a server that is not there":          "postgres://user:hush@127.0.0.1:1/db",
	} {
		t.Run(name, func(t *testing.T) {
			err := Up(t.Context(), databaseURL, nil, slog.New(slog.DiscardHandler))
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "hush")
			_, err = ReadStatus(t.Context(), databaseURL)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "hush")
		})
	}
}

func TestUp_RefusesPoliciesForOtherTables(t *testing.T) {
	t.Parallel()
	for name, policies := range map[string]map[string]Policy{
		`policy for "live": no such table of points`: {"live": {}},
		"policy for flymaster: an age is below 0":    {"flymaster": {RetainFor: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.EqualError(t, Up(t.Context(), "", policies, slog.New(slog.DiscardHandler)), name)
		})
	}
}

func TestUp_LeavesTablesPlainOnlyAfterARefusal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err     error
		refused bool
	}{
		"the role may not":            {&pgconn.PgError{Code: "42501"}, true},
		"the library is not loaded":   {&pgconn.PgError{Code: "XX000", Severity: "FATAL"}, true},
		"the server is stopping":      {&pgconn.PgError{Code: "57P01"}, false},
		"the server's disk is full":   {&pgconn.PgError{Code: "53100"}, false},
		"the connection broke":        {errors.New("connection reset by peer"), false},
		"the extension was created":   {nil, false},
		"the role's wait was stopped": {context.DeadlineExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, refused := refusal(test.err)
			assert.Equal(t, test.refused, refused)
		})
	}
}

func TestUp_MakesTheTablesOfTheLanes(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	up(t, databaseURL, weekly())

	tables := hypertables()
	assert.Len(t, tables, len(lane.All(lane.Options{})))
	for i, l := range lane.All(lane.Options{}) {
		t.Run(l.Name, func(t *testing.T) {
			require.Less(t, i, len(tables))
			assert.Equal(t, l.Table, tables[i].table)
			assert.Equal(t, l.TimeColumn, tables[i].timeColumn)
			assert.Equal(t, l.Key()[0], tables[i].segmentBy)

			var columns []string
			for _, c := range l.Columns() {
				columns = append(columns, c.Name+" "+c.Kind.SQLType())
			}
			withDatabase(t, databaseURL, func(db *sql.DB) {
				assert.ElementsMatch(t, columns, queryStrings(t, db, `
					SELECT column_name || ' ' || data_type FROM information_schema.columns
					WHERE table_schema = 'public' AND table_name = $1`, l.Table))
				assert.Equal(t, l.Key(), queryStrings(t, db, `
					SELECT attname FROM pg_index
					CROSS JOIN unnest(indkey::int[]) WITH ORDINALITY AS key (attnum, place)
					JOIN pg_attribute ON attrelid = indrelid AND pg_attribute.attnum = key.attnum
					WHERE indrelid = $1::regclass AND indisprimary ORDER BY place`, l.Table))
				assert.ElementsMatch(t, append(l.Key(), "received_at"), queryStrings(t, db, `
					SELECT column_name FROM information_schema.columns
					WHERE table_schema = 'public' AND table_name = $1 AND is_nullable = 'NO'`, l.Table))
				assert.Empty(t, queryStrings(t, db, `
					SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
					AND col_description(attrelid, attnum) IS NULL`, l.Table), "columns without a comment")
			})
		})
	}
}

func TestUp_MakesADeadLetterTableOfPointsOrPayloads(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	up(t, databaseURL, weekly())
	withDatabase(t, databaseURL, func(db *sql.DB) {
		for values, accepted := range map[string]bool{
			`'{"lat": 1}', NULL`:   true,
			`NULL, '\x00ff'`:       true,
			`NULL, NULL`:           false,
			`'{"lat": 1}', '\x00'`: false,
		} {
			_, err := db.ExecContext(t.Context(), `INSERT INTO rejected_points (lane, error, point, payload)
				VALUES ('live', 'why', `+values+`)`)
			assert.Equal(t, accepted, err == nil, values)
		}
		assert.Equal(t, []string{"2"}, queryStrings(t, db, `
			SELECT count(*) FROM rejected_points WHERE id > 0 AND rejected_at > now() - interval '1 minute'`))
	})
}
