package store

import (
	"cmp"
	"slices"

	"tracklane/internal/lane"
)

// orderByKey sorts points by their table's key, and puts behind the others all
// but the first of those that share one. It returns how many come before.
//
// In this order two writers that meet wait for each other instead of for both
// (no deadlock), and neighbours share the index's pages: 1.15 to 1.35 times
// the points a second of the order in which they came.
func orderByKey(points *lane.Points) (unique int) {
	rank := rankTracks(points.Tracks)
	compareKeys := func(a, b *lane.Row) int {
		if c := cmp.Compare(rank[a.TrackIndex], rank[b.TrackIndex]); c != 0 {
			return c
		}
		if c := cmp.Compare(a.Time, b.Time); c != 0 {
			return c
		}
		if c := cmp.Compare(a.Lat, b.Lat); c != 0 {
			return c
		}
		return cmp.Compare(a.Lon, b.Lon)
	}
	compare := func(a, b lane.Row) int {
		if c := compareKeys(&a, &b); c != 0 {
			return c
		}
		return cmp.Compare(a.Seq(), b.Seq())
	}
	if !slices.IsSortedFunc(points.Rows, compare) {
		slices.SortFunc(points.Rows, compare)
	}
	var others []lane.Row
	for _, row := range points.Rows {
		if unique > 0 && compareKeys(&points.Rows[unique-1], &row) == 0 {
			others = append(others, row)
			continue
		}
		points.Rows[unique] = row
		unique++
	}
	copy(points.Rows[unique:], others)
	return unique
}

// key is the key of a point in its table.
type key struct {
	track    string // the value of the first of the track's columns
	time     int64  // Unix microseconds
	lat, lon float64
}

func keyOf(p *lane.Points, row int) key {
	r := &p.Rows[row]
	return key{p.Tracks[r.TrackIndex].Fields[0].Value, r.Time, r.Lat, r.Lon}
}

// splitByKeys returns the points that have one of the keys, and the others. Both
// share memory with points, but for their rows.
func splitByKeys(points *lane.Points, keys map[key]bool) (with, without *lane.Points) {
	with, without = points.Slice(0, 0), points.Slice(0, 0)
	for row := range points.Rows {
		part := without
		if keys[keyOf(points, row)] {
			part = with
		}
		part.Rows = append(part.Rows, points.Rows[row])
	}
	return with, without
}

// splitByTime returns the points before the median of their times, and those from
// then on, each in the order that they have. Where all have the same time there
// are none before. Both share memory with points, but for their rows.
func splitByTime(points *lane.Points) (before, after *lane.Points) {
	times := make([]int64, points.Len())
	for i, row := range points.Rows {
		times[i] = row.Time
	}
	slices.Sort(times)
	median := times[len(times)/2]
	if median == times[0] { // of many points at one time, the others may be later
		later, _ := slices.BinarySearch(times, median+1)
		median = times[min(later, len(times)-1)]
	}
	before, after = points.Slice(0, 0), points.Slice(0, 0)
	for _, row := range points.Rows {
		if row.Time < median {
			before.Rows = append(before.Rows, row)
		} else {
			after.Rows = append(after.Rows, row)
		}
	}
	return before, after
}

// spreadsOver reports whether points are of more than n different days.
func spreadsOver(points *lane.Points, n int) bool {
	const day = 86_400_000_000 // microseconds
	if points.Len() <= n {
		return false
	}
	first, last := points.Rows[0].Time, points.Rows[0].Time
	for _, row := range points.Rows {
		first, last = min(first, row.Time), max(last, row.Time)
	}
	if last/day-first/day < int64(n) {
		return false // nearly always
	}
	days := make(map[int64]bool)
	for _, row := range points.Rows {
		days[row.Time/day] = true
	}
	return len(days) > n
}

// rankTracks gives each track its place in the order of their first fields;
// tracks that share that field share a place.
func rankTracks(tracks []lane.Track) []int {
	order := make([]int, len(tracks))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Compare(tracks[a].Fields[0].Value, tracks[b].Fields[0].Value)
	})
	rank := make([]int, len(tracks))
	for i := 1; i < len(order); i++ {
		rank[order[i]] = rank[order[i-1]]
		if tracks[order[i]].Fields[0].Value != tracks[order[i-1]].Fields[0].Value {
			rank[order[i]]++
		}
	}
	return rank
}
