package store

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// onEach runs a test on plain PostgreSQL and, where the machine has it, on
// TimescaleDB.
func onEach(t *testing.T, test func(*testing.T, *pgxpool.Pool)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		_, pool := openPlain(t)
		test(t, pool)
	})
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		test(t, openMigrated(t))
	})
}

// way returns n points of a flight to the north, a second apart from a time on.
func way(l *lane.Lane, id, pilot, race string, from time.Time, n int) *lane.Points {
	points := lane.NewPoints(l, n)
	fields := []lane.Field{lane.TextField(id)}
	if len(l.TrackColumns) > 1 {
		fields = append(fields, lane.Field{Null: true},
			lane.Field{Value: pilot, Null: pilot == ""}, lane.Field{Value: race, Null: race == ""})
	}
	switch l.TrackColumns[0].Kind {
	case lane.BigInt:
		fields[0] = lane.BigIntField(42)
	case lane.UUID:
		fields[0] = lane.Field{Value: "0123456789abcdef"}
	}
	track := points.AddTrack(lane.Track{Fields: fields, ReceivedAt: from.UnixMicro()})
	for i := range n {
		row := points.Add(track, from.Add(time.Duration(i)*time.Second).UnixMicro(), 46+float64(i)*1e-4, 7)
		points.SetFloat(row, 0, 1000+float64(i))
		for column, c := range l.ValueColumns[1:] {
			if c.Required {
				points.SetBits(row, column+1, 0)
			}
		}
	}
	return points
}

var noon = time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)

func writePoints(t *testing.T, pool *pgxpool.Pool, lists ...*lane.Points) {
	t.Helper()
	w := newTestWriter(pool, lane.All(lane.Options{}))
	for _, points := range lists {
		_, err := w.Write(t.Context(), points, "")
		require.NoError(t, err)
	}
}

func idsOf(flights []Flight) (ids []string) {
	for _, f := range flights {
		ids = append(ids, f.Lane+" "+f.ID)
	}
	return ids
}

func TestReader_ListsTheFlightsOfEveryLane(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, pool *pgxpool.Pool) {
		lanes := lane.All(lane.Options{})
		for range 2 { // the second time they are duplicates
			for i, l := range lanes {
				writePoints(t, pool, way(l, "a", "anna", "cup", noon.AddDate(0, 0, -i), 11))
			}
		}
		r := NewReader(pool, lanes)
		flights, next, err := r.Flights(t.Context(), Scope{}, nil, 10)
		require.NoError(t, err)
		assert.Nil(t, next)
		assert.Equal(t, []string{"live a", "upload a", "scoring 30313233-3435-3637-3839-616263646566", "flymaster 42-20260711"}, idsOf(flights))
		for _, f := range flights {
			assert.EqualValues(t, 11, f.Points, f.ID)
			assert.InDelta(t, 10*1e-4*math.Pi/180*6371008.8, f.Distance, 0.01, f.ID)
			assert.InDelta(t, 1010, *f.MaxAltitude, 0, f.ID)
			assert.InDelta(t, 46, f.First.Lat, 0)
			assert.InDelta(t, 46.001, f.Last.Lat, 1e-9)
			assert.EqualValues(t, 10_000_000, f.Last.Time-f.First.Time)
		}
		assert.Equal(t, noon, flights[0].Received.UTC(), "when its points came")
		for text, want := range map[string][]string{"AN": {"live a", "upload a"}, "p-2026071": {}, "-2026071": {"flymaster 42-20260711"}, "CUP": {"live a", "upload a"}, "%": {}} {
			found, _, err := r.Flights(t.Context(), Scope{Search: text}, nil, 10)
			require.NoError(t, err)
			assert.ElementsMatch(t, want, idsOf(found), text)
		}
		assert.Equal(t, []string{"anna", "anna", "", ""}, []string{flights[0].Pilot, flights[1].Pilot, flights[2].Pilot, flights[3].Pilot})
	})
}

func TestReader_PagesListEachFlightOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, pool *pgxpool.Pool) {
		lanes := lane.All(lane.Options{})
		want := make(map[string]bool)
		for i := range 13 {
			id := fmt.Sprintf("f%02d", i%7)
			want["live "+id] = true
			writePoints(t, pool, way(lanes[0], id, fmt.Sprint("p", i%2), "cup", noon.AddDate(0, 0, i%3), 3))
		}
		r := NewReader(pool, lanes)
		seen := make(map[string]bool)
		var cursor *Cursor
		for pages := 0; ; pages++ {
			require.Less(t, pages, 10)
			flights, next, err := r.Flights(t.Context(), Scope{}, cursor, 2)
			require.NoError(t, err)
			for _, id := range idsOf(flights) {
				require.False(t, seen[id], id)
				seen[id] = true
			}
			if cursor = next; next == nil {
				break
			}
		}
		assert.Equal(t, want, seen)
	})
}

func TestReader_ShowsNothingOutsideOfTheScope(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, pool *pgxpool.Pool) {
		lanes := lane.All(lane.Options{})
		night := time.Date(2026, 7, 14, 23, 59, 50, 0, time.UTC)
		writePoints(t, pool, way(lanes[0], "shared", "anna", "cup", noon, 10), way(lanes[0], "shared", "bert", "open", noon.Add(time.Hour), 5),
			way(lanes[0], "night", "anna", "cup", night, 20), way(lanes[3], "", "", "", noon, 4))
		r := NewReader(pool, lanes)
		for name, c := range map[string]struct {
			scope  Scope
			ids    []string
			points int64 // of the flight "shared"
		}{
			"all":          {Scope{}, []string{"live night", "live shared", "flymaster 42-20260714"}, 15},
			"a pilot":      {Scope{Pilot: "bert"}, []string{"live shared"}, 5},
			"a race":       {Scope{Race: "cup"}, []string{"live night", "live shared"}, 10},
			"another":      {Scope{Race: "none"}, nil, 0},
			"a lane":       {Scope{Lane: "flymaster"}, []string{"flymaster 42-20260714"}, 0},
			"from":         {Scope{From: noon.AddDate(0, 0, 1).Add(-12 * time.Hour)}, []string{"live night"}, 0},
			"to":           {Scope{To: noon.Add(time.Second)}, []string{"live shared", "flymaster 42-20260714"}, 1},
			"between":      {Scope{From: noon.Add(time.Minute), To: noon.Add(2 * time.Minute)}, nil, 0},
			"before a day": {Scope{To: noon.AddDate(0, 0, -1)}, nil, 0},
			"delayed":      {Scope{Until: noon.Add(4 * time.Second)}, []string{"live shared", "flymaster 42-20260714"}, 5},
		} {
			flights, _, err := r.Flights(t.Context(), c.scope, nil, 10)
			require.NoError(t, err)
			assert.Equal(t, c.ids, idsOf(flights), name)
			var points int64
			if ref, err := r.Find(t.Context(), "shared", c.scope); err == nil {
				state, err := r.TrackState(t.Context(), ref, c.scope)
				require.NoError(t, err)
				points = state.Points
				for fix, err := range r.Track(t.Context(), ref, c.scope) {
					require.NoError(t, err)
					points--
					assert.True(t, c.scope.Until.IsZero() || fix.Time <= c.scope.Until.UnixMicro(), name)
				}
				assert.Zero(t, points, name)
				points = state.Points
			}
			assert.Equal(t, c.points, points, name)
		}
		_, err := r.Flight(t.Context(), "shared", Scope{Pilot: "carl"})
		assert.ErrorIs(t, err, ErrNoFlight)
		delayed, err := r.Flight(t.Context(), "shared", Scope{Until: noon.Add(4 * time.Second)})
		require.NoError(t, err)
		assert.Equal(t, noon.Add(4*time.Second).UnixMicro(), delayed.Last.Time)
		_, err = r.Flight(t.Context(), "shared", Scope{Until: noon.Add(-time.Second)})
		assert.ErrorIs(t, err, ErrNoFlight)
	})
}

func TestReader_ReadsATrackOfManyPagesInOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, pool *pgxpool.Pool) {
		lanes := lane.All(lane.Options{})
		const n = 2*pagePoints + 7
		points := way(lanes[1], "long", "", "", noon, n)
		for i := range points.Rows { // some share their time
			points.Rows[i].Time = noon.Add(time.Duration(i/3) * time.Second).UnixMicro()
		}
		writePoints(t, pool, points)
		r := NewReader(pool, lanes)
		ref, err := r.Find(t.Context(), "long", Scope{})
		require.NoError(t, err)
		count := 0
		for fix, err := range r.Track(t.Context(), ref, Scope{}) {
			require.NoError(t, err)
			require.InDelta(t, 46+float64(count)*1e-4, fix.Lat, 1e-9)
			count++
		}
		assert.Equal(t, n, count)
	})
}

// A flight among many, over many days, is read by indexes, of the chunks of its own
// days alone.
func TestReader_NeverScansAWholeTable(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, pool *pgxpool.Pool) {
		lanes := lane.All(lane.Options{})
		_, err := pool.Exec(t.Context(), `
			INSERT INTO live_track_points (flight_id, datetime, lat, lon, pilot_id, race_id, received_at)
			SELECT 'f' || f, timestamptz '2026-07-14 12:00Z' + f % 20 * interval '1 day' + n * interval '1 second', 46, 7, 'p' || f, 'r' || f % 3, now()
			FROM generate_series(0, 199) f, generate_series(0, 199) n;
			INSERT INTO flights SELECT DISTINCT 'live', flight_id, datetime::date, pilot_id, race_id FROM live_track_points;
			ANALYZE`)
		require.NoError(t, err)
		r := NewReader(pool, lanes)
		ref, err := r.Find(t.Context(), "f7", Scope{})
		require.NoError(t, err)
		p := r.tables["live"]
		where, parameters := Scope{}.where(p, ref.key, ref.days)
		page, pageParameters := pageStatement(p, ref, Scope{}, &lane.Fix{Time: noon.UnixMicro()})
		list, listParameters := r.listStatement(Scope{Race: "r1", From: noon}, &Cursor{noon.AddDate(0, 0, 3), "live", "f9"}, 50)
		requireIndexes(t, pool, factsQuery(p, where), parameters)
		requireIndexes(t, pool, page, pageParameters)
		requireIndexes(t, pool, list, listParameters)
	})
}

// requireIndexes requires that a query reads rows by indexes alone, and of one chunk
// at the most.
func requireIndexes(t *testing.T, pool *pgxpool.Pool, query string, parameters []any) {
	t.Helper()
	rows, err := pool.Query(t.Context(), "EXPLAIN "+query, parameters...)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	plan := strings.Join(lines, "\n")
	assert.Contains(t, plan, "Index")
	assert.NotContains(t, plan, "Seq Scan on _hyper")
	assert.NotContains(t, plan, "Seq Scan on live")
	chunks := make(map[string]bool)
	for _, chunk := range regexp.MustCompile(`_hyper_\d+_\d+_chunk`).FindAllString(plan, -1) {
		chunks[chunk] = true
	}
	assert.LessOrEqual(t, len(chunks), 1, plan)
}

// A writer that remembers a flight asks nothing; the directory is right when many
// write the same flights at once.
func TestDirectory_ListsFlightsOfConcurrentWritersOnce(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	results := make(chan error, 8)
	for n := range cap(results) {
		go func() {
			w := newTestWriter(pool, lanes)
			var err error
			for i := range 20 {
				lists := []*lane.Points{
					way(lanes[0], fmt.Sprint("f", i), "anna", "cup", noon.Add(time.Duration(n)*time.Minute), 3),
					way(lanes[0], fmt.Sprint("f", 19-i), "anna", "cup", noon.Add(time.Duration(n)*time.Minute), 3),
				}
				if _, failed := w.WriteMerged(t.Context(), lists); failed != nil {
					err = failed
				}
			}
			results <- err
		}()
	}
	for range cap(results) {
		assert.NoError(t, <-results)
	}
	assert.Equal(t, 20, countRows(t, pool, "flights"))
}

func TestDirectory_HoldsBackNoPoints(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	_, err := pool.Exec(t.Context(), `ALTER TABLE flights ADD CHECK (flight_id <> 'bad')`)
	require.NoError(t, err)
	w := newTestWriter(pool, lanes)
	_, err = w.WriteMerged(t.Context(), []*lane.Points{
		way(lanes[0], "bad", "", "", noon, 3), way(lanes[0], "good", "", "", noon, 3),
	})
	require.NoError(t, err)
	assert.Equal(t, 6, countRows(t, pool, "live_track_points"))
	assert.Equal(t, 1, countRows(t, pool, "flights"), "the good one is listed")
	_, err = pool.Exec(t.Context(), `DROP TABLE flights`)
	require.NoError(t, err)
	writePoints(t, pool, way(lanes[0], "other", "", "", noon, 3))
	assert.Equal(t, 9, countRows(t, pool, "live_track_points"))
}

// unlisted is what the writer pays for the directory when all flights are known.
func BenchmarkDirectory_OfKnownFlights(b *testing.B) {
	l := lane.All(lane.Options{})[0]
	var lists []*lane.Points
	for i := range 200 {
		lists = append(lists, way(l, fmt.Sprint("f", i), "anna", "cup", noon, 5))
	}
	points := lane.Merge(lists)
	d := newDirectory()
	d.remember(d.unknown(points), 0)
	b.ReportAllocs()
	for b.Loop() {
		if len(d.unknown(points)) > 0 {
			b.Fatal("a flight is not known")
		}
	}
}
