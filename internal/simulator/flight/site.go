package flight

import (
	"math"
	"math/rand/v2"
)

// Site is a take-off and the land around it: a hill that falls evenly to a
// plain.
type Site struct {
	Name      string
	Lat, Lon  float64 // degrees, of the take-off
	Elevation float64 // metres above sea level, of the take-off
	Plain     float64 // metres above sea level, of the land around the hill
}

// Krushevo is the take-off above the Pelagonia plain in North Macedonia where
// many competitions are flown.
func Krushevo() Site {
	return Site{Name: "Krushevo", Lat: 41.3797, Lon: 21.2560, Elevation: 1350, Plain: 620}
}

const (
	slope            = 0.3 // of the hill; steeper than any glide
	metresPerDegree  = 111_320.0
	waypointsFarther = 3_500.0 // metres east of the take-off, beyond the hill
)

// ground is the height of the ground at a position.
func (s Site) ground(p vector) float64 {
	return max(s.Plain, s.Elevation-slope*math.Hypot(p.east, p.north))
}

// coordinates turns a position into degrees of latitude and longitude.
func (s Site) coordinates(p vector) (lat, lon float64) {
	lat = s.Lat + p.north/metresPerDegree
	lon = s.Lon + p.east/(metresPerDegree*math.Cos(s.Lat*math.Pi/180))
	return lat, lon
}

// route returns the day's waypoints over the plain, as one pilot cuts them.
func (s Site) route(random *rand.Rand) []vector {
	task := []vector{
		{east: waypointsFarther, north: -1_500},
		{east: 14_000, north: -6_000},
		{east: 21_000, north: 4_000},
		{east: 9_000, north: 8_000},
	}
	for i := range task {
		task[i].east += 600 * (random.Float64() - 0.5)
		task[i].north += 600 * (random.Float64() - 0.5)
	}
	return task
}
