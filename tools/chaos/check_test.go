package main

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/checker"
	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/migrations"
	"tracklane/store"
)

var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

// storedTraffic returns a dbChecker of the traffic's first three requests of
// each stream: two acknowledged, and one that was sent and not acknowledged. All of
// them are stored.
func storedTraffic(t *testing.T) *dbChecker {
	t.Helper()
	url := servers.Database(t)
	require.NoError(t, migrations.Up(t.Context(), url, nil, slog.New(slog.DiscardHandler)))
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	all := lane.All(lane.Options{FlymasterSecret: flymasterSecret})
	lanes := make(map[string]*lane.Lane)
	for _, l := range all {
		lanes[l.Name] = l
	}
	const maxPoints = 1000
	writer := store.NewWriter(pool, all, maxPoints, nil)
	_, err = pool.Exec(t.Context(), refuseFlights)
	require.NoError(t, err)
	streams := makeStreams()
	for i := range streams {
		streams[i].points = min(streams[i].points, 2500) // they all look alike
	}
	h := newHistory(streams, time.Now())
	for i, s := range h.streams {
		for number := range 3 {
			require.Equal(t, number, h.next(i))
			if number < 2 {
				h.acknowledge(i, time.Now(), false)
			}
			body, _ := s.body(number)
			decoded, err := lanes[s.lane].Decode(body, lane.DecodeOptions{Now: time.Now()})
			require.NoError(t, err)
			require.Empty(t, decoded.Rejected)
			require.Equal(t, s.points, decoded.Points.Len())
			stored, err := writer.Write(t.Context(), decoded.Points, "")
			require.NoError(t, err)
			require.Equal(t, s.isRefused(), len(stored.Rejected) == s.points)
		}
	}
	return newDBChecker(pool, h)
}

func TestDBChecker_FindsEveryStoredPoint(t *testing.T) {
	t.Parallel()
	c := storedTraffic(t)
	points, refused := 0, 0
	for _, s := range c.history.streams {
		points += s.points
		if s.isRefused() {
			refused += s.points
		}
	}
	finished := make(chan struct{})
	close(finished)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	assert.True(t, c.watch(ctx, finished))

	found, err := c.compare(t.Context())
	require.NoError(t, err)
	assert.Equal(t, comparison{
		Result: checker.Result{Stored: int64(2 * points), Unacknowledged: int64(points)}, refused: int64(2 * refused),
	}, found)
}

func TestDBChecker_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage  string
		missing int
		// unexpected is how many rows no client sent.
		unexpected int
	}{
		"an acknowledged point is missing": {
			damage: `DELETE FROM live_track_points WHERE flight_id = 'live-0-0' AND datetime = '2026-01-01 08:00:01Z'`, missing: 1,
		},
		"a whole acknowledged request is missing": {
			damage: `DELETE FROM uploaded_track_points WHERE flight_id = 'upload-16-1'`, missing: 1000,
		},
		"a point that was never acknowledged is missing": {
			damage: `DELETE FROM live_track_points WHERE flight_id = 'live-0-0' AND datetime = '2026-01-01 08:00:02Z'`,
		},
		"a point has moved": {
			damage: `UPDATE live_track_points SET lat = lat + 1e-13
				WHERE flight_id = 'live-0-0' AND datetime = '2026-01-01 08:00:00Z'`,
			missing: 1, unexpected: 1,
		},
		"a refused point is not in rejected_points": {
			damage: `DELETE FROM rejected_points
				WHERE point->>'flight_id' = 'refused-live-30-1' AND point->>'datetime' LIKE '%08:00:01Z'`, missing: 1,
		},
		"a value beside the key has changed": {
			damage:  `UPDATE flymaster SET gps_alt = NULL WHERE date_time = '2026-01-01 08:00:00Z' AND device_id = 26000000000`,
			missing: 1, unexpected: 1,
		},
		"a point is there that was never sent": {
			damage: `INSERT INTO live_track_points (flight_id, datetime, lat, lon, received_at)
				VALUES ('live-0-0', '2026-01-01 08:00:03Z', 1, 2, now())`, unexpected: 1,
		},
		"a flight is there that was never sent": {
			damage: `INSERT INTO scoring_tracks (flight_uuid, date_time, lat, lon, received_at)
				VALUES ('c4a05000-0016-4000-8000-000000000099', '2026-01-01 08:00:00Z', 1, 2, now())`, unexpected: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := storedTraffic(t)
			tag, err := db.database.Exec(t.Context(), c.damage)
			require.NoError(t, err)
			require.Positive(t, tag.RowsAffected())
			found, err := db.compare(t.Context())
			require.NoError(t, err)
			assert.EqualValues(t, c.missing, found.Missing)
			assert.Equal(t, c.unexpected, found.unexpected.total)
			if c.missing > 0 {
				assert.Len(t, found.losses, 1)
			}
		})
	}
}

func TestDBChecker_CountsDuplicates(t *testing.T) {
	t.Parallel()
	c := storedTraffic(t)
	_, err := c.database.Exec(t.Context(), `
		ALTER TABLE live_track_points DROP CONSTRAINT live_track_points_pkey;
		INSERT INTO live_track_points SELECT * FROM live_track_points WHERE flight_id = 'live-3-0'`)
	require.NoError(t, err)
	found, err := c.compare(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 3, found.Duplicates)
}
