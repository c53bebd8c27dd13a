package load

import (
	"math"
	"time"

	"tracklane/internal/simulator/flight"
)

// traffic knows every point of a run by formula, from the number of its
// request and its place in it, so that nothing has to be remembered to verify
// a run but which requests were acknowledged.
//
// Requests are rendered ahead: flights differ in their name alone and follow
// one of a few tracks, and the bytes of those lie ready. Writing a request is
// writing the name and copying the rest.
//
// A traffic is never changed once made; any number of goroutines may use it.
type traffic struct {
	format format
	secret string
	run    uint64
	points int // per request
	parts  int // requests per flight
	tracks []track
}

// track is a flight without a name.
type track struct {
	start    time.Time // of the first point; the others follow every second
	lat, lon []float64 // as the server reads them
	tails    [][]byte  // for each part, the body after the start
}

const (
	flightsAtOnce = 200  // flights whose requests are interleaved
	flightPoints  = 1000 // of a flight, if a request does not hold more
	maxTracks     = 16
	trackPoints   = 100_000 // of all tracks together, about: some 10 MB
)

// newTraffic renders the requests of a run that starts now.
func newTraffic(f format, secret string, run uint64, points int, now time.Time) *traffic {
	t := &traffic{
		format: f, secret: secret, run: run, points: points,
		parts: max(1, (flightPoints+points-1)/points),
	}
	length := t.flightLength()
	// All points are in the past, with room for the clock of the server.
	start := now.UTC().Truncate(time.Second).Add(-time.Duration(length)*time.Second - time.Minute)
	for i := range min(maxTracks, max(1, trackPoints/length)) {
		fixes := flyFor(length, start.Add(-time.Duration(i)*7*time.Second), uint64(i))
		t.tracks = append(t.tracks, t.render(fixes))
	}
	return t
}

// flyFor returns so many fixes, of as many flights as it takes.
func flyFor(length int, start time.Time, seed uint64) []flight.Fix {
	fixes := make([]flight.Fix, 0, length)
	for len(fixes) < length {
		flown := flight.New(flight.Krushevo(), start, 0, seed).Fly()
		fixes = append(fixes, flown[:min(len(flown), length-len(fixes))]...)
		start = fixes[len(fixes)-1].Time
		seed += maxTracks
	}
	return fixes
}

func (t *traffic) render(fixes []flight.Fix) track {
	rendered := track{start: fixes[0].Time}
	var tail []byte
	for i, fix := range fixes {
		fix.Lat, fix.Lon = roundCoordinate(fix.Lat), roundCoordinate(fix.Lon)
		rendered.lat = append(rendered.lat, fix.Lat)
		rendered.lon = append(rendered.lon, fix.Lon)
		tail = t.format.appendFix(tail, fix)
		if (i+1)%t.points != 0 {
			tail = append(tail, t.format.separator...)
			continue
		}
		rendered.tails = append(rendered.tails, append(tail, t.format.end...))
		tail = nil
	}
	return rendered
}

// roundCoordinate returns the float that a server reads from a coordinate
// written with coordinateDecimals: the one nearest to that decimal number.
func roundCoordinate(degrees float64) float64 {
	scale := math.Pow10(coordinateDecimals)
	return math.Round(degrees*scale) / scale
}

// flightLength is how many points a flight has.
func (t *traffic) flightLength() int { return t.parts * t.points }

// block is how many requests pass before all of the flights at once are done
// and others take their place.
func (t *traffic) block() uint64 { return flightsAtOnce * uint64(t.parts) }

// request returns the flight, and the part of it, that a request carries.
func (t *traffic) request(number uint64) (flightNumber uint64, part int) {
	block, within := number/t.block(), number%t.block()
	return block*flightsAtOnce + within%flightsAtOnce, int(within / flightsAtOnce)
}

// requestOf is the inverse of request.
func (t *traffic) requestOf(flightNumber uint64, part int) uint64 {
	block, within := flightNumber/flightsAtOnce, flightNumber%flightsAtOnce
	return block*t.block() + uint64(part)*flightsAtOnce + within
}

// flights is how many flights the first so many requests touch.
func (t *traffic) flights(requests uint64) uint64 {
	block, within := requests/t.block(), requests%t.block()
	return block*flightsAtOnce + min(within, flightsAtOnce)
}

// appendIdentity writes what the lane's table calls a flight.
func (t *traffic) appendIdentity(dst []byte, flightNumber uint64) []byte {
	return t.format.appendIdentity(dst, t.run, flightNumber)
}

// appendBody writes the body of a request.
func (t *traffic) appendBody(dst []byte, number uint64) []byte {
	flightNumber, part := t.request(number)
	var space [40]byte
	identity := t.appendIdentity(space[:0], flightNumber)
	dst = t.format.appendStart(dst, identity, t.secret)
	return append(dst, t.trackOf(flightNumber).tails[part]...)
}

func (t *traffic) trackOf(flightNumber uint64) *track {
	return &t.tracks[flightNumber%uint64(len(t.tracks))]
}

// pointAt returns the number of the point, counted over the whole run, that a
// flight has at a time and a place; ok is false when it has none there.
func (t *traffic) pointAt(flightNumber uint64, at time.Time, lat, lon float64) (point uint64, ok bool) {
	flown := t.trackOf(flightNumber)
	since := at.Sub(flown.start)
	step := int(since / time.Second)
	if since < 0 || since%time.Second != 0 || step >= len(flown.lat) ||
		flown.lat[step] != lat || flown.lon[step] != lon {
		return 0, false
	}
	request := t.requestOf(flightNumber, step/t.points)
	return request*uint64(t.points) + uint64(step%t.points), true
}
