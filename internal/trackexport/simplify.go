package trackexport

import (
	"math"

	"tracklane/internal/lane"
)

// simplifyWindow is how many fixes lie between two that are kept, at the most.
const simplifyWindow = 256

// Simplify leaves out fixes that are not missed: at the time of each, the way between
// the two fixes that are kept around it comes within tolerance metres of it, the
// altitude counted. The first and the last are kept.
//
// It is the opening-window algorithm with the synchronised distance (Meratnia and de
// By, Spatiotemporal compression techniques for moving point objects, 2004), in a
// window of bounded size: it needs no whole track, as Douglas and Peucker's does, and
// a pilot who is replayed is where they were.
func Simplify(fixes Fixes, tolerance float64) Fixes {
	return func(yield func(lane.Fix, error) bool) {
		window := make([]lane.Fix, 0, simplifyWindow) // after the anchor
		var anchor lane.Fix
		started := false
		for fix, err := range fixes {
			if err != nil {
				yield(lane.Fix{}, err)
				return
			}
			if !started {
				started, anchor = true, fix
				if !yield(fix, nil) {
					return
				}
				continue
			}
			if len(window) == simplifyWindow || !near(anchor, fix, window, tolerance) {
				anchor = window[len(window)-1]
				window = window[:0]
				if !yield(anchor, nil) {
					return
				}
			}
			window = append(window, fix)
		}
		if len(window) > 0 {
			yield(window[len(window)-1], nil)
		}
	}
}

// near reports whether the way from one fix to another comes within tolerance
// metres of those between, each at its time.
func near(from, to lane.Fix, between []lane.Fix, tolerance float64) bool {
	const metresPerDegree = 6371008.8 * math.Pi / 180
	east := metresPerDegree * math.Cos(from.Lat*math.Pi/180)
	duration := float64(to.Time - from.Time)
	for _, fix := range between {
		share := 0.0
		if duration > 0 {
			share = float64(fix.Time-from.Time) / duration
		}
		on := func(a, b, x float64) float64 { return x - (a + (b-a)*share) }
		dx := on(0, turn(to.Lon-from.Lon), turn(fix.Lon-from.Lon)) * east
		dy := on(from.Lat, to.Lat, fix.Lat) * metresPerDegree
		dz := on(altitude(from), altitude(to), altitude(fix))
		if math.IsNaN(dz) {
			dz = 0
		}
		if dx*dx+dy*dy+dz*dz > tolerance*tolerance {
			return false
		}
	}
	return true
}

// turn is a difference of longitudes the short way round.
func turn(degrees float64) float64 { return math.Remainder(degrees, 360) }
