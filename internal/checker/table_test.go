package checker

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/internal/storetest"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

// Three points of one flight and one of another, a second apart.
func TestTable_ReadsTheRowsOfEveryLane(t *testing.T) {
	t.Parallel()
	pool := storetest.OpenMigrated(t, servers.Database(t))
	identities := map[string][2]string{
		"live": {"first", "second"}, "upload": {"first", "second"}, "flymaster": {"4711", "4712"},
		"scoring": {"00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"},
	}
	start := time.Date(2026, 7, 14, 10, 0, 0, 0, time.UTC)
	for _, l := range lane.All(lane.Options{}) {
		t.Run(l.Name, func(t *testing.T) {
			flights := identities[l.Name]
			insert := fmt.Sprintf(`INSERT INTO %s (%s, %s, lat, lon, %s, received_at) VALUES ($1, $2, 46.5, 7.25, $3, now())`,
				l.Table, l.TrackColumns[0].Name, l.TimeColumn, l.ValueColumns[0].Name)
			var want []Row
			for i := range 4 {
				altitude := float64(i)
				row := Row{flights[i/3], start.Add(time.Duration(i) * time.Second), 46.5, 7.25, &altitude}
				_, err := pool.Exec(t.Context(), insert, row.Flight, row.Time, row.Altitude)
				require.NoError(t, err)
				want = append(want, row)
			}
			testTable(t, NewTable(pool, l), flights, want)
		})
	}
}

func testTable(t *testing.T, table *Table, flights [2]string, want []Row) {
	t.Helper()
	require.NoError(t, table.Check(t.Context()))
	counts, err := table.Counts(t.Context(), flights[:])
	require.NoError(t, err)
	assert.Equal(t, map[string]int64{flights[0]: 3, flights[1]: 1}, counts)

	var rows []Row
	add := func(row Row) {
		altitude := *row.Altitude // the row is the next one's, too
		rows = append(rows, Row{row.Flight, row.Time.UTC(), row.Lat, row.Lon, &altitude})
	}
	require.NoError(t, table.AllRows(t.Context(), add))
	assert.ElementsMatch(t, want, rows)
	rows = nil
	require.NoError(t, table.Rows(t.Context(), flights[1:], add))
	assert.Equal(t, want[3:], rows)

	complete, err := table.Complete(t.Context(), []Span{
		{Flight: flights[0], First: want[0].Time, Last: want[2].Time, Points: 3},
		{Flight: flights[0], First: want[0].Time, Last: want[2].Time, Points: 4},
		{Flight: flights[0], First: want[1].Time, Last: want[2].Time, Points: 3},
		{Flight: flights[1], First: want[3].Time, Last: want[3].Time, Points: 1},
	})
	require.NoError(t, err)
	assert.ElementsMatch(t, []int{0, 3}, complete)
}

func TestTable_SaysWhichTableCannotBeRead(t *testing.T) {
	t.Parallel()
	pool := storetest.Open(t, servers.Database(t)) // without tables
	table := NewTable(pool, lane.All(lane.Options{})[0])
	assert.ErrorContains(t, table.Check(t.Context()), "read table live_track_points: ")
	_, err := table.Counts(t.Context(), []string{"x"})
	assert.ErrorContains(t, err, "live_track_points")
	assert.ErrorContains(t, table.AllRows(t.Context(), func(Row) {}), "live_track_points")
	_, err = table.Complete(t.Context(), []Span{{}})
	assert.ErrorContains(t, err, "live_track_points")
}
