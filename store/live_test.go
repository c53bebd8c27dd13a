package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestReader_FindsWhatWasCommittedLate(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	pool := openMigrated(t)
	reader, writer := NewReader(pool, lanes), newTestWriter(pool, lanes)
	_, err := writer.Write(t.Context(), flight(lanes[0], 1, 0, 3), "")
	require.NoError(t, err)
	scope := Scope{From: lane.TimeOf(firstTime).Add(-time.Hour)}

	// A transaction that began before the cursor and commits after it.
	late, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = late.Rollback(t.Context()) }()
	_, err = late.Exec(t.Context(), `INSERT INTO live_track_points (flight_id, datetime, lat, lon, received_at)
		VALUES ('flight_id 1', $1, 1, 2, '2000-01-01')`, lane.TimeOf(firstTime))
	require.NoError(t, err)
	// Transactions of other databases count as under way, too.
	var cursor LiveCursor
	isAllBefore := func() bool {
		cursor, err = reader.LiveCursor(t.Context())
		require.NoError(t, err)
		points, err := reader.LiveSince(t.Context(), cursor, time.Time{}, scope, 100)
		require.NoError(t, err)
		return len(points) == 0
	}
	require.Eventually(t, isAllBefore, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, late.Commit(t.Context()))

	points, err := reader.LiveSince(t.Context(), cursor, time.Time{}, scope, 100)
	require.NoError(t, err)
	require.Len(t, points, 1)
	assert.Equal(t, 1.0, points[0].Lat)
	require.Eventually(t, isAllBefore, 20*time.Second, 10*time.Millisecond)
}

// TimescaleDB tells no transaction of what is compressed.
func TestReader_FindsWhatWasCommittedToACompressedChunk(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	pool := openMigrated(t)
	var isHypertable bool
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL`).Scan(&isHypertable))
	if !isHypertable {
		t.Skip("no TimescaleDB")
	}
	reader, writer := NewReader(pool, lanes), newTestWriter(pool, lanes)
	write := func(id string, at, received time.Time) {
		points := way(lanes[0], id, "anna", "cup", at, 3)
		points.Tracks[0].ReceivedAt = received.UnixMicro()
		_, err := writer.Write(t.Context(), points, "")
		require.NoError(t, err)
	}
	compress := func() {
		_, err := pool.Exec(t.Context(), `SELECT compress_chunk(chunk) FROM show_chunks('live_track_points') AS chunk`)
		require.NoError(t, err)
	}
	now := time.Now().UTC()
	yesterday, received := now.AddDate(0, 0, -1), now.Add(-time.Minute)
	write("shown", yesterday, received.Add(-time.Minute))
	write("long before", now.AddDate(0, 0, -20), now)
	compress()
	cursor, err := reader.LiveCursor(t.Context())
	require.NoError(t, err)
	write("late", yesterday, now)
	compress()
	write("received long ago", yesterday, now.AddDate(0, 0, -2))
	write("now", now, now)

	for from, want := range map[time.Time][]string{
		yesterday.Add(-2 * time.Second): {"late", "received long ago", "now"}, now.Add(-time.Second): {"now"},
	} {
		points, err := reader.LiveSince(t.Context(), cursor, received, Scope{From: from}, 100)
		require.NoError(t, err)
		found := make(map[string]int)
		for _, p := range points {
			found[p.ID]++
		}
		for _, id := range want {
			assert.Equal(t, 3, found[id], id)
		}
		assert.Len(t, points, 3*len(want), "%v", found)
	}
}

func TestReader_FindsTheLatestOfMorePointsThanItMayReturn(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	pool := openMigrated(t)
	reader, writer := NewReader(pool, lanes), newTestWriter(pool, lanes)
	cursor, err := reader.LiveCursor(t.Context())
	require.NoError(t, err)
	points := way(lanes[0], "a", "anna", "cup", time.Now(), 10)
	_, err = writer.Write(t.Context(), points, "")
	require.NoError(t, err)
	found, err := reader.LiveSince(t.Context(), cursor, time.Time{}, Scope{From: time.Now().Add(-time.Hour)}, 4)
	require.NoError(t, err)
	require.Len(t, found, 4)
	for i, p := range found {
		assert.Equal(t, points.Rows[6+i].Time, p.Time)
	}
}
