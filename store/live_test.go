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
	cursor, err := reader.LiveCursor(t.Context())
	require.NoError(t, err)
	points, err := reader.LiveSince(t.Context(), cursor, scope, 100)
	require.NoError(t, err)
	assert.Empty(t, points, "all that is there was committed before")
	require.NoError(t, late.Commit(t.Context()))

	points, err = reader.LiveSince(t.Context(), cursor, scope, 100)
	require.NoError(t, err)
	require.Len(t, points, 1)
	assert.Equal(t, 1.0, points[0].Lat)
	cursor, err = reader.LiveCursor(t.Context())
	require.NoError(t, err)
	points, err = reader.LiveSince(t.Context(), cursor, scope, 100)
	require.NoError(t, err)
	assert.Empty(t, points)
}
