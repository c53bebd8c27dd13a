package load

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"tracklane/internal/body"
	"tracklane/internal/simulator/flight"
)

// workload knows every point of a run by formula, from the number of its
// request and its place in it, so that nothing has to be remembered to verify
// a run but which requests were acknowledged.
//
// Requests are rendered ahead: flights differ in their name alone and follow
// one of a few tracks, and the bytes of those lie ready. Writing a request is
// writing the name and copying the rest.
//
// A workload is never changed once it is made; any number of goroutines may use it.
type workload struct {
	lane   string
	format body.Format
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
	tails    [][]byte  // for each part, the body after its head
}

const (
	flightsAtOnce = 200  // flights whose requests are interleaved
	flightPoints  = 1000 // of a flight, if a request does not hold more
	maxTracks     = 16
	trackPoints   = 100_000 // of all tracks together, about: some 10 MB
)

// newWorkload renders the requests of a run that starts now.
func newWorkload(lane, secret string, run uint64, points int, now time.Time) *workload {
	w := &workload{
		lane: lane, format: body.Of(lane), secret: secret, run: run, points: points,
		parts: max(1, (flightPoints+points-1)/points),
	}
	length := w.flightLength()
	// All points are in the past, with room for the clock of the server.
	start := now.UTC().Truncate(time.Second).Add(-time.Duration(length)*time.Second - time.Minute)
	for i := range min(maxTracks, max(1, trackPoints/length)) {
		fixes := flyFor(length, start.Add(-time.Duration(i)*7*time.Second), uint64(i))
		w.tracks = append(w.tracks, w.render(fixes))
	}
	return w
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

func (w *workload) render(fixes []flight.Fix) track {
	rendered := track{start: fixes[0].Time}
	points := make([]body.Point, len(fixes))
	for i, fix := range fixes {
		points[i] = pointOf(fix)
		rendered.lat = append(rendered.lat, points[i].Lat)
		rendered.lon = append(rendered.lon, points[i].Lon)
	}
	for part := range slices.Chunk(points, w.points) {
		rendered.tails = append(rendered.tails, w.format.AppendTail(nil, body.Sender{}, part))
	}
	return rendered
}

// trackingLead is how long before a fix its Flymaster device began to track.
const trackingLead = 10 * time.Second

// pointOf is a fix to a centimetre.
func pointOf(fix flight.Fix) body.Point {
	return body.Point{
		Time:          fix.Time,
		TrackingStart: fix.Time.Add(-trackingLead),
		Lat:           body.Round(fix.Lat, 7),
		Lon:           body.Round(fix.Lon, 7),
		Altitude:      body.Round(fix.Elevation, 1),
		Ground:        new(body.Round(fix.Ground, 1)),
		Speed:         new(body.Round(fix.Speed, 2)),
		Heading:       new(body.Round(fix.Heading, 1)),
		Analysis:      &body.Analysis{Validity: "A", InFlight: true},
	}
}

// flightLength is how many points a flight has.
func (w *workload) flightLength() int { return w.parts * w.points }

// block is how many requests pass before all of the flights at once are done
// and others take their place.
func (w *workload) block() uint64 { return flightsAtOnce * uint64(w.parts) }

// request returns the flight, and the part of it, that a request carries.
func (w *workload) request(number uint64) (flightNumber uint64, part int) {
	block, within := number/w.block(), number%w.block()
	return block*flightsAtOnce + within%flightsAtOnce, int(within / flightsAtOnce)
}

// requestOf is the inverse of request.
func (w *workload) requestOf(flightNumber uint64, part int) uint64 {
	block, within := flightNumber/flightsAtOnce, flightNumber%flightsAtOnce
	return block*w.block() + uint64(part)*flightsAtOnce + within
}

// flights is how many flights the first so many requests touch.
func (w *workload) flights(requests uint64) uint64 {
	block, within := requests/w.block(), requests%w.block()
	return block*flightsAtOnce + min(within, flightsAtOnce)
}

// appendFlight writes what the lane's table calls a flight. The run is random,
// so flights of two runs never share a name.
func (w *workload) appendFlight(dst []byte, flightNumber uint64) []byte {
	switch w.lane {
	case "scoring":
		return fmt.Appendf(dst, "%08x-%04x-4%03x-8%03x-%012x",
			w.run>>32, w.run>>16&0xffff, w.run>>4&0xfff, w.run&0xf, flightNumber)
	case "flymaster":
		// Eighteen digits: eight of the run, ten of the flight.
		return strconv.AppendUint(dst, (10_000_000+w.run%90_000_000)*10_000_000_000+flightNumber, 10)
	default:
		return fmt.Appendf(dst, "load-%012x-%08d", w.run>>16, flightNumber)
	}
}

// appendBody writes the body of a request.
func (w *workload) appendBody(dst []byte, number uint64) []byte {
	flightNumber, part := w.request(number)
	var space [40]byte
	name := w.appendFlight(space[:0], flightNumber)
	dst = w.format.AppendHead(dst, name, w.secret)
	return append(dst, w.trackOf(flightNumber).tails[part]...)
}

func (w *workload) trackOf(flightNumber uint64) *track {
	return &w.tracks[flightNumber%uint64(len(w.tracks))]
}

// pointAt returns the number of the point, counted over the whole run, that a
// flight has at a time and a place; ok is false when it has none there.
func (w *workload) pointAt(flightNumber uint64, at time.Time, lat, lon float64) (point uint64, ok bool) {
	flown := w.trackOf(flightNumber)
	since := at.Sub(flown.start)
	step := int(since / time.Second)
	if since < 0 || since%time.Second != 0 || step >= len(flown.lat) ||
		flown.lat[step] != lat || flown.lon[step] != lon {
		return 0, false
	}
	request := w.requestOf(flightNumber, step/w.points)
	return request*uint64(w.points) + uint64(step%w.points), true
}
