package flight_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tracklane/internal/simulator/flight"
)

var start = time.Date(2026, 6, 12, 10, 0, 0, 0, time.UTC)

func TestFlight_IsBelievable(t *testing.T) {
	site := flight.Krushevo()
	for seed := range uint64(20) {
		f := flight.New(site, start, 5*time.Second, seed)
		before := f.Fix()
		var climbed, turned, highest float64
		seconds := 0
		for f.Fix().Phase != flight.Landed {
			fix := f.Next()
			seconds++
			require.Less(t, seconds, 3*3600, "seed %d never lands", seed)
			require.Equal(t, time.Second, fix.Time.Sub(before.Time))
			require.GreaterOrEqual(t, fix.Elevation, fix.Ground, "seed %d flies below the ground", seed)
			require.Less(t, fix.Elevation, 3000.0)
			require.Less(t, metres(site.Lat, site.Lon, fix.Lat, fix.Lon), 60_000.0)
			require.GreaterOrEqual(t, fix.Heading, 0.0)
			require.LessOrEqual(t, fix.Heading, 360.0)
			switch fix.Phase {
			case flight.Waiting:
				require.Less(t, seconds, 6)
				require.Zero(t, fix.Speed)
			case flight.Circling:
				if before.Phase == flight.Circling {
					require.GreaterOrEqual(t, fix.Climb, 1.0)
					require.LessOrEqual(t, fix.Climb, 4.0)
					climbed += fix.Elevation - before.Elevation
					turned += math.Abs(turn(before.Heading, fix.Heading))
				}
			case flight.Gliding:
				require.Less(t, fix.Climb, 0.0)
			}
			if fix.Phase == flight.Gliding || fix.Phase == flight.Circling {
				require.Greater(t, fix.Speed, 6.0)
				require.Less(t, fix.Speed, 14.0)
				moved := metres(before.Lat, before.Lon, fix.Lat, fix.Lon)
				require.InDelta(t, fix.Speed, moved, 0.1, "the speed is not what the positions say")
			}
			highest = max(highest, fix.Elevation)
			before = fix
		}
		require.Greater(t, seconds, 10*60, "seed %d lands at once", seed)
		require.Greater(t, highest, site.Elevation+500, "seed %d never climbs", seed)
		require.Greater(t, turned, 10*360.0, "seed %d does not circle", seed)
		require.Greater(t, climbed, 500.0)
		require.Zero(t, before.Speed)
		require.Equal(t, before.Ground, before.Elevation)
	}
}

func TestFlight_FollowsFromItsSeed(t *testing.T) {
	site := flight.Krushevo()
	first := flight.New(site, start, 0, 7).Fly()
	require.Equal(t, first, flight.New(site, start, 0, 7).Fly())
	require.NotEqual(t, first, flight.New(site, start, 0, 8).Fly())
	require.Equal(t, flight.Landed, first[len(first)-1].Phase)
}

func TestFlight_StaysWhereItLanded(t *testing.T) {
	f := flight.New(flight.Krushevo(), start, 0, 1)
	fixes := f.Fly()
	landed := fixes[len(fixes)-1]
	next := f.Next()
	require.Equal(t, landed.Lat, next.Lat)
	require.Equal(t, landed.Lon, next.Lon)
	require.True(t, next.Time.After(landed.Time))
}

// metres is the great-circle distance.
func metres(lat1, lon1, lat2, lon2 float64) float64 {
	const radius, radian = 6_378_137.0, math.Pi / 180
	lat := math.Sin((lat2 - lat1) * radian / 2)
	lon := math.Sin((lon2 - lon1) * radian / 2)
	h := lat*lat + math.Cos(lat1*radian)*math.Cos(lat2*radian)*lon*lon
	return 2 * radius * math.Asin(math.Sqrt(h))
}

// turn is how far a course changed, negative to the left.
func turn(from, to float64) float64 { return math.Remainder(to-from, 360) }
