package store

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

func TestWriter_CopiesWhereThatPaysAndInsertsElse(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	w := newTestWriter(pool, lanes)
	seen := watchStatements(t, pool, l)
	write := func(points *lane.Points, want Result) {
		t.Helper()
		got, err := w.Write(t.Context(), points, "")
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}

	write(flight(l, 1, 0, 99), Result{Inserted: 99})
	assert.Equal(t, []statement{{"INSERT", 99}}, seen(), "few points")
	write(flight(l, 1, 99, 199), Result{Inserted: 100})
	assert.Equal(t, []statement{{"COPY", 100}}, seen())
	write(flight(l, 1, 200, 2450), Result{Inserted: 2250})
	assert.Equal(t, []statement{{"COPY", 500}, {"COPY", 500}, {"COPY", 500}, {"COPY", 500}, {"COPY", 250}}, seen(),
		"two a transaction")

	write(flight(l, 1, 2400, 2600), Result{Inserted: 150, Duplicates: 50})
	assert.Equal(t, []statement{{"INSERT", 150}}, seen(), "a copy that met a duplicate leaves nothing")
	for i := range insertsAfterDuplicate {
		write(flight(l, 2+i, 0, 100), Result{Inserted: 100})
	}
	for _, s := range seen() {
		assert.Equal(t, statement{"INSERT", 100}, s, "duplicates were seen lately")
	}
	write(flight(l, 20, 0, 100), Result{Inserted: 100})
	assert.Equal(t, []statement{{"COPY", 100}}, seen(), "no duplicate came for a while")
	write(flight(l, 20, 0, 100), Result{Duplicates: 100})
	write(lane.NewPoints(l, 0), Result{})
}

func TestWriter_StoresAKeyOnceInEveryLane(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	for _, l := range lanes {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			w := newTestWriter(pool, lanes)
			for name, c := range map[string]struct {
				id, n int
				path  string
			}{"few": {1, 40, "INSERT"}, "many": {2, 400, "COPY"}} {
				points := flight(l, c.id, 0, c.n)
				// Each once more, from another request on the same track.
				again := points.AddTrack(newTrack(l, c.id))
				for i := range c.n {
					row := points.Rows[c.n-1-i]
					at := points.Add(again, row.Time, row.Lat, row.Lon)
					for column, value := range l.ValueColumns {
						if value.Required {
							points.SetFloat(at, column, 1)
						}
					}
				}
				result, err := w.Write(t.Context(), points, "")
				require.NoError(t, err, name)
				assert.Equal(t, Result{Inserted: c.n, Duplicates: c.n}, result, name)
				result, err = w.Write(t.Context(), flight(l, c.id, c.n/2, c.n*2), "")
				require.NoError(t, err, name)
				assert.Equal(t, Result{Inserted: c.n, Duplicates: c.n / 2}, result, name)
			}
			assert.Equal(t, 880, countRows(t, pool, l.Table))
		})
	}
}

func TestWriter_StoresPointsThatDifferInAnyPartOfTheKey(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	for _, l := range lanes {
		t.Run(l.Name, func(t *testing.T) {
			points := lane.NewPoints(l, 0)
			first, second := points.AddTrack(newTrack(l, 1)), points.AddTrack(newTrack(l, -1))
			add := func(track int32, at int64, lat, lon float64) {
				row := points.Add(track, at, lat, lon)
				for column, c := range l.ValueColumns {
					if c.Required {
						points.SetBits(row, column, 0)
					}
				}
			}
			add(first, firstTime, 46, 7)
			add(second, firstTime, 46, 7)
			add(first, firstTime+1, 46, 7)
			add(first, firstTime, math.Nextafter(46, 47), 7)
			add(first, firstTime, 46, math.Nextafter(7, 8))
			// To PostgreSQL the two zeros are the same.
			add(first, firstTime, 0, 0)
			add(first, firstTime, math.Copysign(0, -1), math.Copysign(0, -1))
			result, err := newTestWriter(pool, lanes).Write(t.Context(), points, "")
			require.NoError(t, err)
			assert.Equal(t, Result{Inserted: 6, Duplicates: 1}, result)

			var negative bool
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT lat::text = '-0' FROM `+l.Table+` WHERE lat = 0`).Scan(&negative))
			assert.False(t, negative, "the first of two stays")
		})
	}
}

func TestWriter_CopyCountsNegativeZerosAsDuplicates(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	zeros := func(sign float64) *lane.Points {
		points := lane.NewPoints(l, 0)
		track := points.AddTrack(newTrack(l, 1))
		for i := range int64(200) {
			points.Add(track, firstTime+i, math.Copysign(0, sign), math.Copysign(0, -sign))
		}
		return points
	}
	for sign, want := range map[float64]int{1: 200, -1: 200} {
		result, err := newTestWriter(pool, lanes).Write(t.Context(), zeros(sign), "")
		require.NoError(t, err)
		assert.Equal(t, want, result.Inserted+result.Duplicates)
	}
	assert.Equal(t, 200, countRows(t, pool, l.Table))
}

func TestOrderByKey_SortsAndDropsDuplicates(t *testing.T) {
	for _, l := range lane.All(lane.Options{}) {
		ordered := lane.NewPoints(l, 0)
		for id := range 20 {
			// A device's number is ordered as PostgreSQL sends it, by its bytes.
			track := ordered.AddTrack(newTrack(l, id))
			for i := range int64(20) {
				ordered.Add(track, firstTime+i/8, float64(i/4%2), float64(i%4/2))
			}
		}
		unique := orderByKey(ordered)
		assert.Equal(t, 200, unique, "every other one is there twice")
		assert.Equal(t, 400, ordered.Len(), "the others come behind")

		shuffled := ordered.Slice(0, ordered.Len())
		rand.New(rand.NewPCG(7, 8)).Shuffle(shuffled.Len(), func(i, j int) {
			shuffled.Rows[i], shuffled.Rows[j] = shuffled.Rows[j], shuffled.Rows[i]
		})
		assert.Equal(t, unique, orderByKey(shuffled))
		assert.ElementsMatch(t, ordered.Rows, shuffled.Rows)
		for i := 1; i < unique; i++ {
			a, b := shuffled.Rows[i-1], shuffled.Rows[i]
			key := func(r lane.Row) string {
				return fmt.Sprintf("%x %d %g %g", shuffled.Tracks[r.TrackIndex].Fields[0].Value, r.Time, r.Lat, r.Lon)
			}
			require.Less(t, key(a), key(b))
		}
	}
}

func TestWriter_ManyStoreThePointsOnceWithoutDeadlock(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	for _, l := range []*lane.Lane{lanes[0], lanes[3]} {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			const writers, rounds, flights, window, step = 6, 8, 10, 60, 30
			var inserted, written atomic.Int64
			var working sync.WaitGroup
			for writer := range writers {
				working.Go(func() {
					random := rand.New(rand.NewPCG(uint64(writer), 9))
					// A writer of its own copies until it meets a duplicate itself.
					w := newTestWriter(pool, lanes)
					for round := range rounds {
						points := lane.NewPoints(l, 0)
						for _, id := range random.Perm(flights) {
							from := round*step + random.IntN(step)
							part := flight(l, id, from, from+window)
							track := points.AddTrack(part.Tracks[0])
							for _, row := range part.Rows {
								at := points.Add(track, row.Time, row.Lat, row.Lon)
								for column, c := range l.ValueColumns {
									if c.Required {
										points.SetBits(at, column, 0)
									}
								}
							}
						}
						random.Shuffle(points.Len(), func(i, j int) {
							points.Rows[i], points.Rows[j] = points.Rows[j], points.Rows[i]
						})
						result, err := w.Write(context.Background(), points, "")
						if !assert.NoError(t, err) {
							return
						}
						inserted.Add(int64(result.Inserted))
						written.Add(int64(result.Inserted + result.Duplicates))
					}
				})
			}
			working.Wait()
			assert.EqualValues(t, writers*rounds*flights*window, written.Load())
			assert.EqualValues(t, countRows(t, pool, l.Table), inserted.Load())
		})
	}
}

func TestWriter_ReturnsFailuresThatMayPass(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	l := lanes[0]
	for _, n := range []int{10, 500} { // inserted, copied
		t.Run(fmt.Sprint(n, " points before the tables are made"), func(t *testing.T) {
			t.Parallel()
			w := newTestWriter(openPool(t, servers.Database(t)), lanes)
			result, err := w.Write(t.Context(), flight(l, 1, 0, n), "")
			require.ErrorContains(t, err, "live_track_points")
			assert.Nil(t, asDataError(err))
			assert.Zero(t, result)
		})
		t.Run(fmt.Sprint(n, " points for a caller who has gone"), func(t *testing.T) {
			t.Parallel()
			pool := openMigrated(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := newTestWriter(pool, lanes).Write(ctx, flight(l, 1, 0, n), "")
			require.ErrorIs(t, err, context.Canceled)
			assert.Nil(t, asDataError(err))
			assert.Zero(t, countRows(t, pool, "rejected_points"))
		})
	}
	t.Run("points for a database that was killed", func(t *testing.T) {
		t.Parallel()
		postgres := servers.Postgres(t, devservers.PostgresOptions{})
		pool := openPool(t, postgres.DSN())
		_, err := pool.Exec(t.Context(), `CREATE TABLE live_track_points (flight_id text, device_id text, pilot_id text,
			race_id text, datetime timestamptz, lat float8, lon float8, elevation float8, barometric_altitude float8,
			speed float8, heading float8, received_at timestamptz, PRIMARY KEY (flight_id, datetime, lat, lon))`)
		require.NoError(t, err)
		w := newTestWriter(pool, lanes)
		_, err = w.Write(t.Context(), flight(l, 1, 0, 10), "")
		require.NoError(t, err)
		require.NoError(t, postgres.Kill())
		for _, n := range []int{10, 500} {
			_, err = w.Write(t.Context(), flight(l, 2, 0, n), "")
			require.Error(t, err)
			assert.Nil(t, asDataError(err))
		}
		require.NoError(t, postgres.Restart(t.Context()))
		for _, n := range []int{10, 500} {
			require.Eventually(t, func() bool {
				_, err := w.Write(t.Context(), flight(l, 2, 0, n), "")
				return err == nil
			}, 10*time.Second, 10*time.Millisecond, "statements are prepared anew on new connections")
		}
		assert.Equal(t, 510, countRows(t, pool, l.Table))
	})
}

// BenchmarkWrite writes batches of a thousand points of one flight each, to a
// real database.
func BenchmarkWrite(b *testing.B) {
	const batch = 1000
	run := func(name string, write func(w *Writer, points *lane.Points) (Result, error)) {
		b.Run(name, func(b *testing.B) {
			pool := openMigrated(b)
			lanes := lane.All(lane.Options{})
			w := newTestWriter(pool, lanes)
			next := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				points := flight(lanes[0], next, 0, batch)
				next++
				b.StartTimer()
				if _, err := write(w, points); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(batch*float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
	run("copied", func(w *Writer, points *lane.Points) (Result, error) {
		return w.Write(context.Background(), points, "")
	})
	run("inserted", func(w *Writer, points *lane.Points) (Result, error) {
		return w.Insert(context.Background(), points)
	})
	run("all duplicates", func(w *Writer, points *lane.Points) (Result, error) {
		return w.Write(context.Background(), flight(points.Lane, 0, 0, points.Len()), "")
	})
}
