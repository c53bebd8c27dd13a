package store

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// openRefusing returns a database that refuses points of the first lane with an
// elevation of 9,000 m or more.
func openRefusing(t *testing.T) (*pgxpool.Pool, []*lane.Lane) {
	t.Helper()
	pool := openMigrated(t)
	_, err := pool.Exec(t.Context(), `ALTER TABLE live_track_points ADD CONSTRAINT believable CHECK (elevation < 9000)`)
	require.NoError(t, err)
	return pool, lane.All(lane.Options{})
}

// refusedFlight returns points of which every step-th is refused.
func refusedFlight(l *lane.Lane, n, step int) *lane.Points {
	points := flight(l, 1, 0, n)
	for row := 0; row < n; row += step {
		points.SetFloat(row, 0, 9999)
	}
	return points
}

func TestWriter_DeadLettersAPointOnceHoweverOftenItsTaskIsTried(t *testing.T) {
	t.Parallel()
	pool, lanes := openRefusing(t)
	_, err := pool.Exec(t.Context(), `
		CREATE TABLE statements (id serial);
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO statements DEFAULT VALUES; RETURN NULL; END $$;
		CREATE TRIGGER see AFTER INSERT ON rejected_points FOR EACH STATEMENT EXECUTE FUNCTION see()`)
	require.NoError(t, err)
	w := newTestWriter(pool, lanes)
	for try := range 3 {
		points := refusedFlight(lanes[0], 1200, 3)
		points.Tracks[0].ReceivedAt += int64(try) // its client has sent it again
		_, err := w.Write(t.Context(), points, fmt.Sprint("task-", try))
		require.NoError(t, err)
		assert.Equal(t, 400, countRows(t, pool, "rejected_points"), "try %d", try)
	}
	assert.Equal(t, 800, countRows(t, pool, lanes[0].Table))
	assert.LessOrEqual(t, countRows(t, pool, "statements"), 6, "400 points fit into two statements")
}

func TestWriter_RejectPayloadKeepsAPayloadOnce(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	for range 2 {
		for _, l := range lanes[:2] {
			require.NoError(t, w.RejectPayload(t.Context(), l, []byte{1}, ErrNoRejected, "task"))
		}
	}
	assert.Equal(t, 2, countRows(t, pool, "rejected_points"), "one a lane")
}

func TestWriter_LimitsTheTimeOfATransactionAndNotOfABatch(t *testing.T) {
	t.Parallel()
	pool, lanes := openRefusing(t)
	_, err := pool.Exec(t.Context(), `
		CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END $$;
		CREATE TRIGGER be_slow BEFORE INSERT ON rejected_points FOR EACH ROW EXECUTE FUNCTION be_slow()`)
	require.NoError(t, err)
	w := newTestWriter(pool, lanes)
	// Its chunk stays: a transaction that fails takes the one that it made along.
	writeAll(t, w, flight(lanes[0], 2, 0, 1200), "")
	w.timeout = 4 * time.Second
	start := time.Now()
	for range 2 { // again, the points that are there are not slow
		_, err = w.Write(t.Context(), refusedFlight(lanes[0], 1200, 1), "task")
		require.NoError(t, err)
	}
	assert.Greater(t, time.Since(start), w.timeout)
	assert.Equal(t, 1200, countRows(t, pool, "rejected_points"))
}

func TestWriter_StoresTheGoodPointsOfARoleThatMayNotReject(t *testing.T) {
	t.Parallel()
	admin, lanes := openRefusing(t)
	config := admin.Config()
	role := config.ConnConfig.Database + "_role"
	_, err := admin.Exec(t.Context(), fmt.Sprintf(`
		CREATE ROLE %[1]s LOGIN;
		GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO %[1]s;
		REVOKE ALL ON rejected_points FROM %[1]s`, role))
	require.NoError(t, err)
	t.Cleanup(func() { dropRole(t, admin, role) })
	address, err := url.Parse(config.ConnString())
	require.NoError(t, err)
	address.User = url.User(role)
	pool := openPool(t, address.String())

	database := NewDatabase(pool, lanes)
	status, err := database.Check(t.Context())
	require.NoError(t, err)
	assert.True(t, status.NoRejects)
	assert.True(t, status.Writable)
	w := NewWriter(pool, lanes, 400, nil) // in three transactions
	result, err := w.Write(t.Context(), refusedFlight(lanes[0], 1200, 300), "task")
	require.ErrorIs(t, err, ErrNotKept)
	assert.Len(t, result.Rejected, 4)
	assert.Equal(t, 1196, countRows(t, admin, lanes[0].Table))

	_, err = admin.Exec(t.Context(), `GRANT SELECT, INSERT ON rejected_points TO `+role)
	require.NoError(t, err)
	status, err = database.Check(t.Context())
	require.NoError(t, err)
	assert.False(t, status.NoRejects)
	_, err = w.Write(t.Context(), refusedFlight(lanes[0], 1200, 300), "task")
	require.NoError(t, err)
	assert.Equal(t, 4, countRows(t, admin, "rejected_points"))
}

func TestWriter_StoresAPointWhoseKeyARefusedOneHas(t *testing.T) {
	t.Parallel()
	pool, lanes := openRefusing(t)
	points := refusedFlight(lanes[0], 300, 100) // three are refused
	second := points.AddTrack(newTrack(lanes[0], 1))
	for row := range 150 { // of another request, with the keys of the first
		r := points.Rows[row]
		points.Add(second, r.Time, r.Lat, r.Lon)
	}
	points.SetFloat(300+100, 0, 9999) // it is refused, too
	w := newTestWriter(pool, lanes)
	result, err := w.Write(t.Context(), points, "task")
	require.NoError(t, err)
	assert.Equal(t, 298, result.Inserted, "the second of the points with the key of the first is good")
	assert.Equal(t, 148, result.Duplicates)
	var rejected []int
	for _, r := range result.Rejected {
		rejected = append(rejected, r.Index)
	}
	assert.Equal(t, []int{0, 100, 200, 400}, rejected)
	assert.Equal(t, 298, countRows(t, pool, lanes[0].Table))
	assert.Equal(t, 450, points.Len(), "the list can be written again as it is")
}

// dropRole drops a role and its privileges.
func dropRole(t *testing.T, pool *pgxpool.Pool, role string) {
	t.Helper()
	_, err := pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
	assert.NoError(t, err)
}
