package migrations

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers/timescale"
)

// The TimescaleDB under test takes one connection at a time: connect only
// between calls of Up and ReadStatus, and close before the next.
func withDatabase(t *testing.T, databaseURL string, use func(db *sql.DB)) {
	t.Helper()
	db, err := open(t.Context(), databaseURL)
	require.NoError(t, err)
	defer db.Close()
	use(db)
}

func queryStrings(t *testing.T, db *sql.DB, query string, arguments ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, arguments...)
	require.NoError(t, err)
	defer rows.Close()
	var values []string
	for rows.Next() {
		var value string
		require.NoError(t, rows.Scan(&value))
		values = append(values, value)
	}
	require.NoError(t, rows.Err())
	return values
}

// jobs lists the policies as "id table procedure age", or without the id.
func jobs(t *testing.T, databaseURL string, withID bool) (lines []string) {
	t.Helper()
	withDatabase(t, databaseURL, func(db *sql.DB) {
		lines = queryStrings(t, db, `
			SELECT concat_ws(' ', CASE WHEN $1 THEN job_id END, hypertable_name, proc_name, extract(epoch FROM
				coalesce(config->>'compress_after', config->>'drop_after')::interval)::bigint)
			FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
			ORDER BY hypertable_name, proc_name`, withID)
	})
	return lines
}

func up(t *testing.T, databaseURL string, policies map[string]Policy) (log string) {
	t.Helper()
	var lines bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, Up(ctx, databaseURL, policies, slog.New(slog.NewTextHandler(&lines, nil))))
	return lines.String()
}

func weekly() map[string]Policy {
	policies := map[string]Policy{}
	for _, h := range hypertables() {
		policies[h.table] = Policy{CompressAfter: 7 * day}
	}
	return policies
}

func TestTimescaleDB_KeepsThePointsInHypertables(t *testing.T) {
	t.Parallel()
	databaseURL := timescale.Start(t)
	up(t, databaseURL, weekly())

	withDatabase(t, databaseURL, func(db *sql.DB) {
		assert.Equal(t, []string{
			"flymaster date_time 86400",
			"live_track_points datetime 86400",
			"scoring_tracks date_time 604800",
			"uploaded_track_points datetime 604800",
		}, queryStrings(t, db, `
			SELECT concat_ws(' ', hypertable_name, column_name, extract(epoch FROM time_interval)::bigint)
			FROM timescaledb_information.dimensions ORDER BY 1`))
		assert.Equal(t, []string{
			"flymaster device_id segment 1", "flymaster date_time order 1", "flymaster lat order 2", "flymaster lon order 3",
			"live_track_points flight_id segment 1", "live_track_points datetime order 1", "live_track_points lat order 2", "live_track_points lon order 3",
			"scoring_tracks flight_uuid segment 1", "scoring_tracks date_time order 1", "scoring_tracks lat order 2", "scoring_tracks lon order 3",
			"uploaded_track_points flight_id segment 1", "uploaded_track_points datetime order 1", "uploaded_track_points lat order 2", "uploaded_track_points lon order 3",
		}, queryStrings(t, db, `
			SELECT concat_ws(' ', hypertable_name, attname, CASE WHEN segmentby_column_index > 0 THEN 'segment' ELSE 'order' END,
				coalesce(segmentby_column_index, orderby_column_index))
			FROM timescaledb_information.compression_settings
			ORDER BY hypertable_name, segmentby_column_index, orderby_column_index`))
		assert.Equal(t, []string{"flymaster_pkey", "live_track_points_pkey", "scoring_tracks_pkey", "uploaded_track_points_pkey"},
			queryStrings(t, db, `SELECT indexname FROM pg_indexes WHERE schemaname = 'public'
				AND tablename IN (SELECT hypertable_name FROM timescaledb_information.hypertables) ORDER BY 1`),
			"no index besides the keys")
	})

	status, err := ReadStatus(t.Context(), databaseURL)
	require.NoError(t, err)
	assert.Equal(t, []string{"live_track_points", "uploaded_track_points", "scoring_tracks", "flymaster"}, status.Hypertables)
	assert.Empty(t, status.PlainTables)
	assert.NotEmpty(t, status.TimescaleDB.Installed)
	assert.Empty(t, status.Advice)
}

func TestTimescaleDB_PoliciesFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	databaseURL := timescale.Start(t)

	up(t, databaseURL, weekly())
	assert.Equal(t, []string{
		"flymaster policy_compression 604800",
		"live_track_points policy_compression 604800",
		"scoring_tracks policy_compression 604800",
		"uploaded_track_points policy_compression 604800",
	}, jobs(t, databaseURL, false), "points are kept unless someone asks for their removal")

	before := jobs(t, databaseURL, true)
	assert.Empty(t, up(t, databaseURL, weekly()), "nothing is done, nothing is logged")
	assert.Equal(t, before, jobs(t, databaseURL, true), "the same jobs, not new ones like them")

	up(t, databaseURL, map[string]Policy{
		"live_track_points": {CompressAfter: 36 * time.Hour, RetainFor: 30 * day},
		"flymaster":         {CompressAfter: 7 * day, RetainFor: 90*time.Minute + time.Second},
		"scoring_tracks":    {RetainFor: 365 * day},
	})
	assert.Equal(t, []string{
		"flymaster policy_compression 604800",
		"flymaster policy_retention 5401",
		"live_track_points policy_compression 129600",
		"live_track_points policy_retention 2592000",
		"scoring_tracks policy_retention 31536000",
	}, jobs(t, databaseURL, false), "changed ages replace a policy, and 0 removes it")

	up(t, databaseURL, map[string]Policy{"live_track_points": {RetainFor: 60 * day}})
	assert.Equal(t, []string{"live_track_points policy_retention 5184000"}, jobs(t, databaseURL, false))

	up(t, databaseURL, nil)
	assert.Empty(t, jobs(t, databaseURL, false))
}

func TestTimescaleDB_DropsSecondCopiesAcrossChunks(t *testing.T) {
	t.Parallel()
	databaseURL := timescale.Start(t)
	up(t, databaseURL, weekly())

	// Twelve days of one point each, every one sent twice in the statement.
	const insert = `
		INSERT INTO live_track_points (flight_id, datetime, lat, lon, received_at)
		SELECT flight, at, lat, lon, now() FROM unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[])
			AS points (flight, at, lat, lon)
		ON CONFLICT DO NOTHING`
	var flights, times []string
	var latitudes, longitudes []float64
	for range 2 {
		for i := range 12 {
			flights = append(flights, "flight")
			times = append(times, fmt.Sprintf("2026-06-%02dT12:00:00.000001Z", i+1))
			latitudes, longitudes = append(latitudes, 46.1), append(longitudes, 7.9)
		}
	}
	inserted := func(db *sql.DB) int64 {
		result, err := db.ExecContext(t.Context(), insert, flights, times, latitudes, longitudes)
		require.NoError(t, err)
		rows, err := result.RowsAffected()
		require.NoError(t, err)
		return rows
	}
	withDatabase(t, databaseURL, func(db *sql.DB) {
		assert.EqualValues(t, 12, inserted(db))
		assert.EqualValues(t, 0, inserted(db))
		assert.Equal(t, []string{"12"}, queryStrings(t, db, `SELECT count(*) FROM show_chunks('live_track_points')`))

		_, err := db.ExecContext(t.Context(), `SELECT compress_chunk(chunk) FROM show_chunks('live_track_points') AS chunk`)
		require.NoError(t, err)
		assert.EqualValues(t, 0, inserted(db), "compressed chunks know their points as well")
		assert.Equal(t, []string{"12"}, queryStrings(t, db, `SELECT count(*) FROM live_track_points`))
	})

	up(t, databaseURL, map[string]Policy{"live_track_points": {CompressAfter: day}})
	withDatabase(t, databaseURL, func(db *sql.DB) {
		assert.Equal(t, []string{"12"}, queryStrings(t, db, `SELECT count(*) FROM live_track_points`))
	})
}

func TestTimescaleDB_ThatCameAfterThePointsIsLeftToTheOperator(t *testing.T) {
	t.Parallel()
	databaseURL := timescale.Start(t)
	withDatabase(t, databaseURL, func(db *sql.DB) {
		require.NoError(t, inTransaction(t.Context(), db, func(transaction *sql.Tx) error {
			return applyFiles(t.Context(), transaction, slog.New(slog.DiscardHandler))
		}))
	})
	status, err := ReadStatus(t.Context(), databaseURL)
	require.NoError(t, err)
	require.Len(t, status.Advice, 1)
	assert.Contains(t, status.Advice[0], "empty tables", "while they are empty, migrate up does it")

	withDatabase(t, databaseURL, func(db *sql.DB) {
		_, err := db.ExecContext(t.Context(), `INSERT INTO uploaded_track_points (flight_id, datetime, lat, lon, received_at)
			VALUES ('a', '1995-07-01T10:00:00Z', 46, 7, now()), ('a', '2026-07-01T10:00:00Z', 46, 7, now())`)
		require.NoError(t, err)
	})
	assert.Contains(t, up(t, databaseURL, weekly()), "table=uploaded_track_points")

	status, err = ReadStatus(t.Context(), databaseURL)
	require.NoError(t, err)
	assert.Equal(t, []string{"live_track_points", "scoring_tracks", "flymaster"}, status.Hypertables)
	assert.Equal(t, []string{"uploaded_track_points"}, status.PlainTables)
	require.Len(t, status.Advice, 1)
	assert.Contains(t, status.Advice[0], "migrate_data => true")

	withDatabase(t, databaseURL, func(db *sql.DB) {
		for line := range strings.Lines(status.Advice[0]) {
			if strings.HasPrefix(line, "SELECT") {
				_, err := db.ExecContext(t.Context(), line)
				require.NoError(t, err, line)
			}
		}
		assert.Equal(t, []string{"2"}, queryStrings(t, db, `SELECT count(*) FROM uploaded_track_points`))
	})
	up(t, databaseURL, weekly())
	assert.Contains(t, jobs(t, databaseURL, false), "uploaded_track_points policy_compression 604800")
	status, err = ReadStatus(t.Context(), databaseURL)
	require.NoError(t, err)
	assert.Empty(t, status.Advice)
}
