package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
)

// refuseBelow makes the database refuse points with a latitude below 10 degrees.
func refuseBelow(t *testing.T, database string) {
	t.Helper()
	pool := openDatabase(t, database)
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	for _, table := range []string{"live_track_points", "flymaster"} {
		_, err := pool.Exec(t.Context(), `ALTER TABLE `+table+` ADD CONSTRAINT north CHECK (lat >= 10)`)
		require.NoError(t, err)
	}
}

func TestBypass_NamesPointsThatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true}, "DATABASE_URL="+database, "REDIS_URL=redis://127.0.0.1:1/0")
	refuseBelow(t, database)
	pool := openDatabase(t, database)
	point := func(second int, lat string) string {
		return `{"datetime":` + secondAt(second) + `,"lat":` + lat + `,"lon":2}`
	}

	a := postJSON(t, s.url+"/live", trackPointsOf(strings.Join(
		[]string{point(1, "91"), point(4, "20"), point(3, "1"), point(2, `"x"`), point(1, "2")}, ",")))
	require.Equal(t, 201, a.code, a.text)
	assert.Equal(t, 1, a.Points)
	assert.Equal(t, 1, *a.Inserted)
	assert.Equal(t, 4, a.RejectedTotal)
	var indexes []int
	for _, r := range a.Rejected {
		indexes = append(indexes, r.Index)
	}
	assert.Equal(t, []int{0, 2, 3, 4}, indexes)
	assert.Contains(t, a.Rejected[1].Error, "SQLSTATE 23514")
	requireRows(t, pool, 1, `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, 2, `SELECT count(*) FROM rejected_points`)

	none := postJSON(t, s.url+"/live", trackPointsOf(point(1, "2")))
	assert.Equal(t, 422, none.code, none.text)
	assert.Contains(t, none.text, "SQLSTATE 23514")

	lines := post(t, s.url+"/flymaster", "", flymasterFile("1783958400,1783958401,1,7,1,1,1", "bad line", "1783958400,1783958402,20,7,1,1,1",
		"1783958400,1783958403,2,7,1,1,1"), "Accept", "application/json")
	require.Equal(t, 201, lines.code, lines.text)
	indexes = nil
	for _, r := range lines.Rejected {
		indexes = append(indexes, r.Index)
	}
	assert.Equal(t, []int{2, 3, 5}, indexes, "the index is the line")
}
