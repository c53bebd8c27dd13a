package livestream

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/store"
)

// pointAt is a point of a flight at a time.
func pointAt(flight int, at time.Time) store.LivePoint {
	fix := lane.NoFix()
	fix.Time, fix.Lat, fix.Lon = at.UnixMicro(), 46.5, 7.25
	return store.LivePoint{Flight: lane.Flight{ID: fmt.Sprint(flight)}, Fix: fix}
}

// seconds is a point a second of each of so many flights, the last one now.
func seconds(flights, each int, now time.Time) (points []store.LivePoint) {
	for second := range each {
		for flight := range flights {
			points = append(points, pointAt(flight, now.Add(time.Duration(second+1-each)*time.Second)))
		}
	}
	return points
}

func (g *group) addAll(points []store.LivePoint, now time.Time) {
	for _, p := range points {
		g.add(p, now)
	}
}

func TestGroup_SpreadsManyPointsOverEvents(t *testing.T) {
	now := time.Now()
	g := newGroup(View{}, now)
	points := seconds(200, 25, now)
	g.addAll(points, now)
	var told []store.LivePoint
	for n, isLast := range []bool{false, false, true} {
		event, isAll := g.takePending()
		assert.LessOrEqual(t, len(event), maxEvent)
		assert.Equal(t, isLast, isAll, n)
		told = append(told, event...)
	}
	require.Len(t, told, len(points))
	for i, p := range points { // floats that are not given are NaN, which equals nothing
		require.Equal(t, [2]any{p.ID, p.Time}, [2]any{told[i].ID, told[i].Time})
	}
	event, isAll := g.takePending()
	assert.Empty(t, event)
	assert.True(t, isAll)
}

func TestGroup_TellsTheLastPointOfEachFlightOfTooMany(t *testing.T) {
	now := time.Now()
	g := newGroup(View{}, now)
	for _, part := range []struct {
		each, told int
		isAll      bool
	}{
		{(maxPending + 1000) / 300, 300, true}, {10, 300, true}, {1, 300, true}, {10, maxEvent, false},
	} {
		now = now.Add(time.Minute)
		g.addAll(seconds(300, part.each, now), now)
		event, isAll := g.takePending()
		assert.Len(t, event, part.told, "of %d points of each flight", part.each)
		assert.Equal(t, part.isAll, isAll)
		if part.isAll {
			for _, p := range event {
				require.Equal(t, now.UnixMicro(), p.Time)
			}
		}
	}
}

func TestGroup_TellsNoPointFromBeforeTheTailOfItsFlight(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		last, at time.Time
		told     int
	}{
		"of the tail":                  {now, now.Add(-9 * time.Minute), 2},
		"from before it":               {now, now.Add(-11 * time.Minute), 1},
		"from before an old tail":      {now.Add(-time.Hour), now.Add(-71 * time.Minute), 1},
		"of a flight that ended":       {now.Add(-time.Hour), now.Add(-65 * time.Minute), 2},
		"after one of a clock ahead":   {now.Add(20 * time.Hour), now, 2},
		"as old, after one like that ": {now.Add(20 * time.Hour), now.Add(-11 * time.Minute), 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(View{}, now)
			g.addAll([]store.LivePoint{pointAt(1, c.last), pointAt(1, c.at)}, now)
			event, _ := g.takePending()
			assert.Len(t, event, c.told)
		})
	}
}

func TestFlight_KeepsTheLastPointOfEachStepHoweverTheyCome(t *testing.T) {
	now := time.Now()
	inOrder, mixed := newGroup(View{}, now), newGroup(View{}, now)
	points := seconds(1, 1500, now)
	inOrder.addAll(points, now)
	rand.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	mixed.addAll(points, now)
	times := func(g *group) (times []int64) {
		for _, fix := range g.flights["0"].tail {
			times = append(times, fix.Time)
		}
		return times
	}
	assert.Equal(t, times(inOrder), times(mixed))
	assert.InDelta(t, tailLength/tailStep, len(times(inOrder)), 1)
}

// A viewer who is disconnected while points wait resumes from where none did.
func TestHub_GivesAnIDWhenAllWasToldOnly(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	h := NewHub(i.reader, newClient(t, servers.Redis(t).URL()), "test", i.lane, i.recorder, slog.New(slog.DiscardHandler))
	v, _, err := h.join(t.Context(), View{}, "")
	require.NoError(t, err)
	now := time.Now()
	h.mu.Lock()
	h.take(seconds(200, 15, now))
	h.mu.Unlock()
	for _, hasID := range []bool{false, true, true} {
		h.send(now)
		event := string(<-v.events)
		if hasID {
			assert.Contains(t, event, "\nid: ")
		} else {
			assert.NotContains(t, event, "\nid: ")
		}
	}
}

func TestHub_RestsAfterALook(t *testing.T) {
	t.Parallel()
	i := install(t, servers.Redis(t).URL())
	h := NewHub(i.reader, newClient(t, servers.Redis(t).URL()), "test", i.lane, i.recorder, slog.New(slog.DiscardHandler))
	start := time.Now()
	h.look(t.Context())
	now := time.Now()
	h.wantFar(now)
	assert.False(t, h.isTimeToLook(now))
	assert.True(t, h.isTimeToLook(now.Add(lookRest*now.Sub(start))))
}

func TestPublisher_TellsTheLastPointOfATrackOfLongAgo(t *testing.T) {
	live, now := lane.All(lane.Options{})[0], time.Now()
	points := batch(live, 3, 100, now.Add(-maxLate-50*time.Second).UnixMicro())
	old := points.AddTrack(points.Tracks[0])
	for _, minute := range []time.Duration{3, 1, 2} {
		points.Add(old, now.Add(-maxLate-minute*time.Minute).UnixMicro(), 46.5, 7.25)
	}
	news := newsOf(points, now)
	recent, last := make(map[int32]int), make(map[int32]int64)
	for _, row := range news.Rows {
		if row.Time > now.Add(-maxLate).UnixMicro() {
			recent[row.TrackIndex]++
		} else {
			assert.NotContains(t, last, row.TrackIndex)
			last[row.TrackIndex] = row.Time
		}
	}
	assert.Equal(t, map[int32]int{0: 49, 1: 49, 2: 49}, recent)
	assert.Len(t, last, 4)
	assert.Equal(t, now.Add(-maxLate-time.Minute).UnixMicro(), last[old])
}
