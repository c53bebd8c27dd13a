package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// writeAll writes points and returns what became of them, with the name of the
// lane's table where TimescaleDB names a chunk of it.
func writeAll(t *testing.T, w *Writer, points *lane.Points, taskID string) Result {
	t.Helper()
	result, err := w.Write(t.Context(), points, taskID)
	require.NoError(t, err)
	for i, r := range result.Rejected {
		result.Rejected[i].Message = regexp.MustCompile(`_hyper_\d+_\d+_chunk`).ReplaceAllString(r.Message, points.Lane.Table)
	}
	return result
}

// refusedFlights lists the flights with refused points, without the time of the last,
// which must be now; their errors name table instead of its chunks.
func refusedFlights(t *testing.T, reader *Reader, table string) []RefusedFlight {
	t.Helper()
	flights, err := reader.RefusedFlights(t.Context())
	require.NoError(t, err)
	for i := range flights {
		assert.WithinDuration(t, time.Now(), flights[i].Last, time.Minute)
		flights[i].Last = time.Time{}
		flights[i].Error = regexp.MustCompile(`_hyper_\d+_\d+_chunk`).ReplaceAllString(flights[i].Error, table)
	}
	return flights
}

func TestWriter_DeadLettersOnlyRefusedPoints(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	_, err := pool.Exec(t.Context(), `ALTER TABLE live_track_points ADD CONSTRAINT believable CHECK (elevation < 9000)`)
	require.NoError(t, err)
	w := newTestWriter(pool, lanes)
	batch := func(id, n int, refused ...int) *lane.Points {
		points := flight(l, id, 0, n)
		for row := range points.Rows {
			points.SetFloat(row, 0, 1000.5)
		}
		for _, row := range refused {
			points.SetFloat(row, 0, 9999.9)
		}
		return points
	}
	result := writeAll(t, w, batch(1, 1000, 0, 500, 999), "task-1") // copied
	believable := `new row for relation "live_track_points" violates check constraint "believable"`
	assert.Equal(t, Result{Inserted: 997, Rejected: []Refusal{
		{0, "23514", believable}, {500, "23514", believable}, {999, "23514", believable},
	}}, result)
	assert.Equal(t, "the database refused it: "+believable+" (SQLSTATE 23514)", result.Rejected[0].String())
	assert.Equal(t, Result{Inserted: 19, Rejected: []Refusal{{7, "23514", believable}}}, writeAll(t, w, batch(2, 20, 7), "")) // inserted
	assert.Equal(t, 1016, countRows(t, pool, l.Table))

	require.NoError(t, w.RejectPayload(t.Context(), lanes[3], []byte("x"), errors.New("unreadable"), ""))
	assert.Equal(t, []RefusedFlight{
		{Lane: "flymaster", Points: 1, Error: "unreadable"},
		{Lane: "live", ID: "flight_id 2", Points: 1, Error: believable}, {Lane: "live", ID: "flight_id 1", Points: 3, Error: believable},
	}, refusedFlights(t, NewReader(pool, lanes), l.Table))

	list, err := NewRejectedPoints(pool).List(t.Context(), "live", 0, 100)
	require.NoError(t, err)
	require.Len(t, list, 4)
	for i, row := range []int{0, 500, 999, 7} {
		got := list[i]
		assert.Equal(t, "live", got.Lane)
		assert.Equal(t, "23514", *got.SQLState)
		assert.Contains(t, got.Error, "believable")
		assert.Nil(t, got.Payload)
		assert.Equal(t, lane.TimeOf(firstTime+60_000_001), got.ReceivedAt.UTC())
		assert.WithinDuration(t, time.Now(), got.RejectedAt, time.Minute)
		if i < 3 {
			assert.Equal(t, "task-1", *got.TaskID)
		} else {
			assert.Nil(t, got.TaskID, "a point that bypassed Redis is no task's")
		}
		var point map[string]any
		require.NoError(t, json.Unmarshal(got.Point, &point))
		assert.Equal(t, map[string]any{
			"flight_id": point["flight_id"], "device_id": point["device_id"], "pilot_id": point["pilot_id"], "race_id": point["race_id"],
			"datetime": lane.TimeOf(firstTime + int64(row)*1_000_000).Format(time.RFC3339Nano),
			"lat":      46.5 + float64(row)*1e-4, "lon": 7.25, "elevation": 9999.9,
			"received_at": lane.TimeOf(firstTime + 60_000_001).Format(time.RFC3339Nano),
		}, point)
		assert.Contains(t, []any{"flight_id 1", "flight_id 2"}, point["flight_id"])
	}
}

func TestWriter_DeadLettersAPointThatNoTableCanHold(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	scoring := lanes[2]
	w := newTestWriter(pool, lanes)
	const text, n = 1, 150
	const tooEarly = math.MinInt64 + postgresEpoch + 1
	for name, spoil := range map[string]func(points *lane.Points){
		"NUL in a text":       func(points *lane.Points) { points.SetText(70, text, "12:00\x0000") },
		"a text not in UTF-8": func(points *lane.Points) { points.SetText(70, text, "12:\xff") },
		"a time too early":    func(points *lane.Points) { points.Rows[70].Time = tooEarly },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pool.Exec(t.Context(), `TRUNCATE scoring_tracks, rejected_points`)
			require.NoError(t, err)
			points := flight(scoring, 1, 0, n)
			spoil(points)
			result, err := w.Write(t.Context(), points, "task")
			if assert.NoError(t, err, name) {
				assert.Equal(t, n-1, result.Inserted)
				require.Len(t, result.Rejected, 1)
				assert.Equal(t, 70, result.Rejected[0].Index)
				assert.Equal(t, n-1, countRows(t, pool, scoring.Table))
				assert.Equal(t, 1, countRows(t, pool, "rejected_points"))
			}
		})
	}
}

func TestWriter_RejectPayloadKeepsIt(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	require.NoError(t, w.RejectPayload(t.Context(), lanes[1], []byte{0, 1, 255}, errors.New("it ends too early"), "task-9"))
	list, err := NewRejectedPoints(pool).List(t.Context(), "upload", 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, []byte{0, 1, 255}, list[0].Payload)
	assert.Nil(t, list[0].Point)
	assert.Equal(t, "it ends too early", list[0].Error)
	assert.Equal(t, "task-9", *list[0].TaskID)
	assert.Nil(t, list[0].SQLState)
	assert.Nil(t, list[0].ReceivedAt)
}

func TestRejectedPoints_AreListedPageByPageAndPurged(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	rejected := NewRejectedPoints(pool)
	last, err := rejected.LastID(t.Context())
	require.NoError(t, err)
	assert.Zero(t, last)
	for i := range 6 {
		require.NoError(t, w.RejectPayload(t.Context(), lanes[i%2], []byte{byte(i)}, errors.New("unreadable"), ""))
	}
	payloads := func(laneName string, after int64, limit int) (bytes []byte, end int64) {
		t.Helper()
		list, err := rejected.List(t.Context(), laneName, after, limit)
		require.NoError(t, err)
		for _, r := range list {
			bytes, end = append(bytes, r.Payload...), r.ID
		}
		return bytes, end
	}
	all, last := payloads("", 0, 10)
	assert.Equal(t, []byte{0, 1, 2, 3, 4, 5}, all)
	found, err := rejected.LastID(t.Context())
	require.NoError(t, err)
	assert.Equal(t, last, found)
	first, end := payloads("live", 0, 2)
	assert.Equal(t, []byte{0, 2}, first)
	second, _ := payloads("live", end, 2)
	assert.Equal(t, []byte{4}, second)

	one, err := rejected.Get(t.Context(), end)
	require.NoError(t, err)
	assert.Equal(t, []byte{2}, one.Payload)
	require.NoError(t, rejected.Delete(t.Context(), end))
	_, err = rejected.Get(t.Context(), end)
	require.ErrorIs(t, err, ErrNoRejected, "though one with a higher id is there")
	require.ErrorIs(t, rejected.Delete(t.Context(), end), ErrNoRejected)

	gone, err := rejected.Purge(t.Context(), "", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	assert.Zero(t, gone)
	gone, err = rejected.Purge(t.Context(), "upload", time.Now().Add(time.Hour))
	require.NoError(t, err)
	assert.EqualValues(t, 3, gone)
	all, _ = payloads("", 0, 10)
	assert.Equal(t, []byte{0, 4}, all)
}

func TestAsDataError_IsForErrorsOfTheDataAlone(t *testing.T) {
	for code, refused := range map[string]bool{
		"22003": true,  // numeric value out of range
		"22021": true,  // character not in repertoire
		"23502": true,  // not null violation
		"23514": true,  // check violation
		"23505": false, // unique violation: a copy that met a duplicate
		"40P01": false, // deadlock
		"40001": false, // serialization failure
		"42P01": false, // undefined table
		"42501": false, // insufficient privilege
		"25006": false, // read-only transaction
		"53100": false, // disk full
		"53300": false, // too many connections
		"57P01": false, // admin shutdown
	} {
		t.Run(code, func(t *testing.T) {
			err := fmt.Errorf("insert: %w", &pgconn.PgError{Code: code})
			assert.Equal(t, refused, asDataError(err) != nil)
		})
	}
	assert.Nil(t, asDataError(errors.New("connection reset by peer")))
	assert.Nil(t, asDataError(nil))
}
