package migrations

import (
	"database/sql"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUp_ListsTheFlightsOfOlderPoints(t *testing.T) {
	t.Parallel()
	databaseURL := servers.Database(t)
	up := func() { require.NoError(t, Up(t.Context(), databaseURL, weekly(), slog.New(slog.DiscardHandler))) }
	up()
	withDatabase(t, databaseURL, func(db *sql.DB) {
		_, err := db.ExecContext(t.Context(), `
			INSERT INTO live_track_points (flight_id, datetime, lat, lon, pilot_id, race_id, received_at)
			SELECT 'night', timestamptz '2026-07-14 23:59:58Z' + n * interval '1 second', 46, 7, 'anna', NULL, now() FROM generate_series(0, 3) n;
			INSERT INTO flymaster (device_id, date_time, lat, lon, received_at) VALUES (42, '2026-07-14 01:00+02', 46, 7, now());
			INSERT INTO scoring_tracks (flight_uuid, date_time, lat, lon, received_at)
			VALUES ('6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e', '2026-07-14 11:00Z', 46, 7, now());
			INSERT INTO flights VALUES ('live', 'night', '2026-07-15', 'anna', '')`)
		require.NoError(t, err)
		up()
		listed := func() []string {
			return queryStrings(t, db, `SELECT concat_ws(' ', lane, flight_id, day, pilot_id, race_id) FROM flights ORDER BY 1`)
		}
		assert.Equal(t, []string{"live night 2026-07-15 anna "}, listed(), "they are looked for once")
		_, err = db.ExecContext(t.Context(), `DELETE FROM flights_filled`)
		require.NoError(t, err)
		up()
		assert.Equal(t, []string{
			"flymaster 42-20260713 2026-07-13  ",
			"live night 2026-07-14 anna ",
			"live night 2026-07-15 anna ",
			"scoring 6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e 2026-07-14  ",
		}, listed())
	})
}
