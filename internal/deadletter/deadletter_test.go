package deadletter

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/internal/storetest"
	"tracklane/store"
)

// open returns a retrier on a migrated database whose table of live points
// refuses southern latitudes.
func open(t *testing.T) (*Retrier, *pgxpool.Pool) {
	t.Helper()
	pool := storetest.OpenMigrated(t, servers.Database(t))
	execute(t, pool, `ALTER TABLE live_track_points ADD CONSTRAINT north CHECK (lat >= 0)`)
	lanes := lane.All(lane.Options{})
	return NewRetrier(pool, lanes, store.NewWriter(pool, lanes, 1000, nil)), pool
}

func execute(t *testing.T, pool *pgxpool.Pool, statement string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), statement)
	require.NoError(t, err)
}

func count(t *testing.T, pool *pgxpool.Pool, table string) (rows int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&rows))
	return rows
}

// refuse writes points that the table refuses.
func (r *Retrier) refuse(t *testing.T, points int) {
	t.Helper()
	l := r.lanes[0]
	list := lane.NewPoints(l, points)
	track := list.AddTrack(lane.Track{
		Fields:     []lane.Field{lane.TextField("f"), {Null: true}, {Null: true}, {Null: true}},
		ReceivedAt: time.Now().UnixMicro(),
	})
	for i := range points {
		list.Add(track, time.Date(2026, 7, 14, 11, 0, i, 0, time.UTC).UnixMicro(), -46, 7)
	}
	result, err := r.writer.Write(t.Context(), list, "")
	require.NoError(t, err)
	require.Len(t, result.Rejected, points)
}

func TestRetrier_RetryAllStoresWhatIsNoLongerRefused(t *testing.T) {
	t.Parallel()
	r, pool := open(t)
	r.refuse(t, pageSize+1)
	var results []Result
	collect := func(result Result) { results = append(results, result) }

	require.NoError(t, r.RetryAll(t.Context(), collect))
	assert.Equal(t, []Result{{Refused: pageSize}, {Refused: 1}}, results, "it ends though all are refused again")
	assert.Equal(t, pageSize+1, count(t, pool, "rejected_points"))

	execute(t, pool, `ALTER TABLE live_track_points DROP CONSTRAINT north`)
	results = nil
	require.NoError(t, r.RetryAll(t.Context(), collect))
	assert.Equal(t, []Result{{Stored: pageSize}, {Stored: 1}}, results)
	assert.Zero(t, count(t, pool, "rejected_points"))
	assert.Equal(t, pageSize+1, count(t, pool, "live_track_points"))
}

func TestRetrier_RetryKeepsWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	r, pool := open(t)
	execute(t, pool, `INSERT INTO rejected_points (lane, payload, error) VALUES ('live', 'x', 'test'), ('none', 'x', 'test')`)
	result, err := r.Retry(t.Context(), 1, 2)
	require.NoError(t, err)
	require.Len(t, result.Unreadable, 2)
	assert.Equal(t, int64(1), result.Unreadable[0].ID)
	require.Error(t, result.Unreadable[0].Err)
	require.ErrorContains(t, result.Unreadable[1].Err, `there is no lane "none"`)
	assert.Equal(t, 2, count(t, pool, "rejected_points"))
}

func TestRetrier_RetryOfAnUnknownIDRetriesNothing(t *testing.T) {
	t.Parallel()
	r, pool := open(t)
	r.refuse(t, 1)
	execute(t, pool, `ALTER TABLE live_track_points DROP CONSTRAINT north`)
	_, err := r.Retry(t.Context(), 1, 4711)
	require.ErrorIs(t, err, store.ErrNoRejected)
	assert.Zero(t, count(t, pool, "live_track_points"))
	result, err := r.Retry(t.Context(), 1)
	require.NoError(t, err)
	assert.Equal(t, Result{Stored: 1}, result)
}

// everyValue returns a southern point of a lane with all its values.
func everyValue(l *lane.Lane) *lane.Points {
	points := lane.NewPoints(l, 1)
	var fields []lane.Field
	for _, c := range l.TrackColumns {
		switch c.Kind {
		case lane.BigInt:
			fields = append(fields, lane.BigIntField(4711))
		case lane.UUID:
			fields = append(fields, lane.Field{Value: "0123456789abcdef"})
		default:
			fields = append(fields, lane.TextField("ä \"quoted\""))
		}
	}
	now := time.Now().UnixMicro()
	track := points.AddTrack(lane.Track{Fields: fields, ReceivedAt: now, RequestID: "r"})
	row := points.Add(track, now, -1.0/3, 7.1)
	for i, c := range l.ValueColumns {
		switch c.Kind {
		case lane.Bool:
			points.SetBool(row, i, true)
		case lane.Timestamp:
			points.SetBits(row, i, uint64(now))
		case lane.Text:
			points.SetText(row, i, "2026-07-14 <&>")
		default:
			points.SetFloat(row, i, 1e-7/3)
		}
	}
	return points
}

func TestRetrier_RetryOfAPointThatIsRefusedAgainAddsNoRow(t *testing.T) {
	t.Parallel()
	r, pool := open(t)
	for _, l := range r.lanes[1:] {
		execute(t, pool, `ALTER TABLE `+l.Table+` ADD CONSTRAINT north CHECK (lat >= 0)`)
	}
	for _, l := range r.lanes {
		result, err := r.writer.Write(t.Context(), everyValue(l), "")
		require.NoError(t, err)
		require.Len(t, result.Rejected, 1, l.Name)
	}
	for range 2 {
		require.NoError(t, r.RetryAll(t.Context(), func(result Result) { assert.Equal(t, Result{Refused: 4}, result) }))
	}
	assert.Equal(t, 4, count(t, pool, "rejected_points"))
}
