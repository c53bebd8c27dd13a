package store

import (
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// pick returns a list of a flight's points at these seconds. Those of a tall one
// are refused by openRefusing.
func pick(l *lane.Lane, tall bool, seconds ...int) *lane.Points {
	points := lane.NewPoints(l, len(seconds))
	track := points.AddTrack(newTrack(l, 1))
	for _, second := range seconds {
		row := points.Add(track, firstTime+int64(second)*1_000_000, 46.5, 7.25)
		if tall {
			points.SetFloat(row, 0, 9999)
		}
	}
	return points
}

func TestWriter_WriteMergedTellsEachRequestItsOwnResult(t *testing.T) {
	t.Parallel()
	pool, lanes := openRefusing(t)
	w, l := newTestWriter(pool, lanes), lanes[0]
	_, err := w.Write(t.Context(), pick(l, false, 1), "")
	require.NoError(t, err)
	results, err := w.WriteMerged(t.Context(), []*lane.Points{
		pick(l, false, 5, 2, 1),    // one is in the table
		pick(l, false, 2, 3),       // one is in the first request
		pick(l, true, 6, 5),        // one is new and refused, one in the first request
		pick(l, false, 7, 6, 6, 8), // one is refused in the request before, and comes twice
		pick(l, true, 9, 8, 10),
		pick(l, false, 11),
	})
	require.NoError(t, err)
	var indexes [][]int
	for i := range results {
		refused := []int{}
		for _, r := range results[i].Rejected {
			refused = append(refused, r.Index)
			assert.Equal(t, "23514", r.SQLState)
		}
		indexes = append(indexes, refused)
		results[i].Rejected = nil
	}
	assert.Equal(t, []Result{
		{Inserted: 2, Duplicates: 1}, {Inserted: 1, Duplicates: 1}, {Duplicates: 1},
		{Inserted: 3, Duplicates: 1}, {Duplicates: 1}, {Inserted: 1},
	}, results)
	assert.Equal(t, [][]int{{}, {}, {0}, {}, {0, 2}, {}}, indexes)
	assert.Equal(t, 8, countRows(t, pool, l.Table))
	assert.Equal(t, 3, countRows(t, pool, "rejected_points"))
}

// randomRequests makes requests of few and many points that collide with each
// other and of which the database refuses some.
func randomRequests(random *rand.Rand, l *lane.Lane) (requests []*lane.Points) {
	seconds := 1 + random.IntN(2000)
	largest := 1 + random.IntN(60)
	for range 1 + random.IntN(20) {
		points := lane.NewPoints(l, 0)
		track := points.AddTrack(newTrack(l, random.IntN(2)))
		for range 1 + random.IntN(largest) {
			second := random.IntN(seconds)
			row := points.Add(track, firstTime+int64(second)*1_000_000, 46.5, 7.25)
			if second%20 == 0 { // refused wherever it comes, so that the order of the writes does not matter
				points.SetFloat(row, 0, 9999)
			}
		}
		requests = append(requests, points)
	}
	return requests
}

// ofAnyChunk is a result without the names of chunks, which TimescaleDB numbers in the
// order in which it makes them.
func ofAnyChunk(r Result) Result {
	for i, refusal := range r.Rejected {
		r.Rejected[i].Message = chunkName.ReplaceAllString(refusal.Message, "chunk")
	}
	return r
}

var chunkName = regexp.MustCompile(`_hyper_\d+_\d+_chunk`)

func TestWriter_WriteMergedDoesWhatWriteDoesOneAfterAnother(t *testing.T) {
	t.Parallel()
	merging, lanes := openRefusing(t)
	single, _ := openRefusing(t)
	l := lanes[0]
	writerOfMerged, writerOfSingle := newTestWriter(merging, lanes), newTestWriter(single, lanes)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		requests := randomRequests(random, l)
		results, err := writerOfMerged.WriteMerged(t.Context(), requests)
		require.NoError(t, err)
		for i, points := range requests {
			want, err := writerOfSingle.Write(t.Context(), points, "")
			require.NoError(t, err)
			require.Equal(t, ofAnyChunk(want), ofAnyChunk(results[i]), "round %d, request %d", round, i)
		}
		if round%10 == 9 {
			for _, pool := range []*pgxpool.Pool{merging, single} {
				_, err := pool.Exec(t.Context(), `TRUNCATE live_track_points`)
				require.NoError(t, err)
			}
		}
	}
}

func TestWriter_WriteMergedInsertsAPointForOneOfManyWriters(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	for _, l := range lanes {
		var mu sync.Mutex
		var total Result
		var writing sync.WaitGroup
		for range 8 {
			writing.Go(func() {
				results, err := w.WriteMerged(t.Context(), []*lane.Points{flight(l, 1, 0, 150), flight(l, 1, 100, 250)})
				mu.Lock()
				defer mu.Unlock()
				if !assert.NoError(t, err) {
					return
				}
				for _, r := range results {
					total.Inserted += r.Inserted
					total.Duplicates += r.Duplicates
				}
			})
		}
		writing.Wait()
		assert.Equal(t, Result{Inserted: 250, Duplicates: 8*300 - 250}, total, l.Name)
	}
}

func TestWriter_WriteMergedKeepsEveryValue(t *testing.T) {
	t.Parallel()
	merging, single := openMigrated(t), openMigrated(t)
	lanes := lane.All(lane.Options{})
	for _, l := range lanes {
		points := everyValue(l, 300)
		_, err := newTestWriter(single, lanes).Write(t.Context(), everyValue(l, 300), "")
		require.NoError(t, err)
		_, err = newTestWriter(merging, lanes).WriteMerged(t.Context(),
			[]*lane.Points{points.Slice(0, 7), points.Slice(7, 120), points.Slice(120, 300)})
		require.NoError(t, err)
		hash := `SELECT md5(string_agg(t::text, E'\n' ORDER BY t::text)) FROM ` + l.Table + ` AS t`
		var want, got string
		require.NoError(t, single.QueryRow(t.Context(), hash).Scan(&want))
		require.NoError(t, merging.QueryRow(t.Context(), hash).Scan(&got))
		assert.Equal(t, want, got, l.Name)
	}
}
