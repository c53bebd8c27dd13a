package livestream

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/store"
)

// group is what the viewers of one View share: the events are made once for all of
// them. The hub's mutex guards it.
type group struct {
	view    View
	loaded  chan struct{} // closed when the flights are, or loading failed
	err     error         // of loading
	ready   bool
	horizon int64  // Unix µs: points of later times are not shown yet
	calls   []byte // the distress calls that the viewers have, as JSON
	viewers map[*Viewer]struct{}
	waiting int // viewers who are about to come

	flights map[string]*flight
	pending []store.LivePoint   // of the next events
	left    map[string]struct{} // the flights of points that pending had no room for
	crowded bool                // the last event had the last points of flights alone
	resumed map[string]*resumption
}

// flight is one of a group, with a point for each ten seconds of its last ten
// minutes, in the order of their times.
type flight struct {
	lane.Flight
	tail []lane.Fix
}

const (
	tailLength = 10*time.Minute + tailStep
	tailStep   = 10 * time.Second

	// maxFlights is how many flights a group remembers; those that are silent for
	// the longest go first.
	maxFlights = 2000

	// flightLifetime is how long after its last point a flight is remembered.
	flightLifetime = 24 * time.Hour

	// maxEvent is how many points an event has at the most; others wait for the next
	// ones. Of more than maxPending, viewers get the last one of each flight alone: what
	// a thousand of them are sent is bounded, however many points come.
	maxEvent   = 2000
	maxPending = 20_000
)

func newGroup(view View, now time.Time) *group {
	return &group{view: view, loaded: make(chan struct{}), horizon: view.horizon(now), viewers: make(map[*Viewer]struct{}),
		flights: make(map[string]*flight), left: make(map[string]struct{}), resumed: make(map[string]*resumption)}
}

// add takes a point up if it may be shown. One that is older than the tail of its flight
// is not told to viewers, unless it is of these minutes: the last point of a device whose
// clock is ahead hides no other.
func (g *group) add(p store.LivePoint, now time.Time) {
	if g.view.Race != "" && p.RaceID != g.view.Race || g.view.Pilot != "" && p.PilotID != g.view.Pilot || p.Time > g.horizon {
		return
	}
	if !g.remember(p) {
		return
	}
	if p.Time <= min(g.flights[p.ID].last(), g.horizon, now.UnixMicro())-tailLength.Microseconds() {
		return
	}
	if len(g.pending) < maxPending {
		g.pending = append(g.pending, p)
	} else {
		g.left[p.ID] = struct{}{}
	}
}

// takePending returns the points of the next event, and whether none is left for those
// after it.
func (g *group) takePending() (points []store.LivePoint, isAll bool) {
	g.crowded = len(g.left) > 0 || g.crowded && len(g.pending) > maxEvent
	if g.crowded {
		g.pending = g.newest()
		clear(g.left)
	}
	end := min(len(g.pending), maxEvent)
	points, g.pending = g.pending[:end], g.pending[end:]
	if len(g.pending) == 0 {
		g.pending = nil
	}
	return points, g.pending == nil
}

// newest returns the last point of each flight of which points wait.
func (g *group) newest() (points []store.LivePoint) {
	for _, p := range g.pending {
		g.left[p.ID] = struct{}{}
	}
	for id := range g.left {
		if f := g.flights[id]; f != nil {
			points = append(points, store.LivePoint{Flight: f.Flight, Fix: f.tail[len(f.tail)-1]})
		}
	}
	return points
}

// remember keeps a point for viewers who come later, and reports whether it had
// none like it.
func (g *group) remember(p store.LivePoint) bool {
	f := g.flights[p.ID]
	if f == nil {
		if len(g.flights) >= maxFlights {
			g.forgetOldest()
		}
		f = &flight{}
		g.flights[p.ID] = f
	}
	at, exists := slices.BinarySearchFunc(f.tail, p.Fix, func(a, b lane.Fix) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Lat, b.Lat), cmp.Compare(a.Lon, b.Lon))
	})
	if at == len(f.tail) {
		f.Flight = p.Flight
	}
	if exists {
		return false
	}
	f.tail = slices.Insert(f.tail, at, p.Fix)
	f.thin(at)
	return true
}

// thin leaves one point of each step, the last, and none that is too old, after a point
// was inserted at a place of what was thin.
func (f *flight) thin(at int) {
	switch step := stepOf(f.tail[at]); {
	case at+1 < len(f.tail) && stepOf(f.tail[at+1]) == step:
		f.tail = slices.Delete(f.tail, at, at+1)
	case at > 0 && stepOf(f.tail[at-1]) == step:
		f.tail = slices.Delete(f.tail, at-1, at)
	}
	old := f.last() - tailLength.Microseconds()
	kept := slices.IndexFunc(f.tail, func(fix lane.Fix) bool { return fix.Time > old })
	f.tail = slices.Delete(f.tail, 0, kept)
}

func stepOf(f lane.Fix) int64 { return f.Time / tailStep.Microseconds() }

func (f *flight) last() int64 { return f.tail[len(f.tail)-1].Time }

func (g *group) forgetOldest() {
	oldest := ""
	for id, f := range g.flights {
		if oldest == "" || f.last() < g.flights[oldest].last() {
			oldest = id
		}
	}
	delete(g.flights, oldest)
}

// forgetOld forgets flights that ended long ago.
func (g *group) forgetOld(now time.Time) {
	for id, f := range g.flights {
		if f.last() < now.Add(-g.view.Delay-flightLifetime).UnixMicro() {
			delete(g.flights, id)
		}
	}
}

// message is the data of an event.
type message struct {
	At      int64         `json:"at"` // Unix ms, by the server's clock
	Delay   float64       `json:"delay"`
	Flights []flightEvent `json:"flights"`

	// SOS are all distress calls that the viewers may see, oldest first; it is not
	// there while they are those of the event before.
	SOS json.RawMessage `json:"sos,omitempty"`
}

// callEvent is a distress call. Of its flight it says what the app said.
type callEvent struct {
	At       int64    `json:"at"` // Unix ms
	FlightID string   `json:"flight_id,omitempty"`
	PilotID  string   `json:"pilot_id,omitempty"`
	RaceID   string   `json:"race_id,omitempty"`
	DeviceID string   `json:"device_id,omitempty"`
	App      string   `json:"app"`
	Says     string   `json:"says"`
	Lat      *float64 `json:"lat,omitempty"`
	Lon      *float64 `json:"lon,omitempty"`
}

// callsOf returns, as JSON, the distress calls that may be shown at a time: of each
// sender the newest that had come by then, or before the delay. The calls may be those
// that were known when the last viewer left.
func (v View) callsOf(calls []metrics.DistressCall, now time.Time) []byte {
	shown := []callEvent{}
	for _, newest := range calls {
		c, known := newest.KnownAt(time.UnixMicro(v.horizon(now)))
		if !known || now.Sub(c.At) >= metrics.DistressTTL {
			continue
		}
		if (v.Race == "" || c.Race == v.Race) && (v.Pilot == "" || c.Pilot == v.Pilot) {
			shown = append(shown, callEvent{c.At.UnixMilli(), c.Flight, c.Pilot, c.Race, c.Device, c.App, c.Says, c.Lat, c.Lon})
		}
	}
	text, err := json.Marshal(shown)
	if err != nil { // texts and finite numbers always marshal
		panic(err)
	}
	return text
}

// flightEvent is points of a flight.
type flightEvent struct {
	ID       string     `json:"id"`
	PilotID  string     `json:"pilot_id,omitempty"`
	RaceID   string     `json:"race_id,omitempty"`
	DeviceID string     `json:"device_id,omitempty"`
	Fixes    []fixEvent `json:"fixes"`
}

// fixEvent is a point: [Unix ms, lat, lon, elevation, barometric_altitude, speed,
// heading], the last four null where there is no value.
type fixEvent lane.Fix

// MarshalJSON implements json.Marshaler.
func (f fixEvent) MarshalJSON() ([]byte, error) {
	text := append(make([]byte, 0, 96), '[')
	text = strconv.AppendInt(text, f.Time/1000, 10)
	if micros := f.Time % 1000; micros != 0 {
		text = strconv.AppendFloat(text[:1], float64(f.Time)/1000, 'f', 3, 64)
	}
	for _, value := range [...]float64{f.Lat, f.Lon, f.Elevation, f.BarometricAltitude, f.Speed, f.Heading} {
		text = append(text, ',')
		if math.IsNaN(value) || math.IsInf(value, 0) {
			text = append(text, "null"...)
			continue
		}
		text = strconv.AppendFloat(text, value, 'g', -1, 64)
	}
	return append(text, ']'), nil
}

// snapshot makes the event with all flights of the group, and distress calls as
// callsOf returns them.
func (g *group) snapshot(id string, now time.Time, calls []byte) []byte {
	m := g.newMessage(now)
	m.SOS = calls
	for _, f := range g.flights {
		event := eventOf(f.Flight)
		for _, fix := range f.tail {
			event.Fixes = append(event.Fixes, fixEvent(fix))
		}
		m.Flights = append(m.Flights, event)
	}
	slices.SortFunc(m.Flights, func(a, b flightEvent) int { return cmp.Compare(a.ID, b.ID) })
	return encode("snapshot", id, m)
}

// points makes the event with points, which may be none, and with distress calls
// unless they are nil.
func (g *group) points(id string, now time.Time, points []store.LivePoint, calls []byte) []byte {
	m := g.newMessage(now)
	m.SOS = calls
	place := make(map[lane.Flight]int)
	for _, p := range points {
		at, known := place[p.Flight]
		if !known {
			at = len(m.Flights)
			place[p.Flight] = at
			m.Flights = append(m.Flights, eventOf(p.Flight))
		}
		m.Flights[at].Fixes = append(m.Flights[at].Fixes, fixEvent(p.Fix))
	}
	return encode("points", id, m)
}

func (g *group) newMessage(now time.Time) message {
	return message{At: now.UnixMilli(), Delay: g.view.Delay.Seconds(), Flights: []flightEvent{}}
}

func eventOf(f lane.Flight) flightEvent {
	return flightEvent{ID: f.ID, PilotID: f.PilotID, RaceID: f.RaceID, DeviceID: f.DeviceID}
}

// encode writes a server-sent event. JSON has no line ends. After an event without an
// id, a client resumes from the one before.
func encode(name, id string, m message) []byte {
	data, err := json.Marshal(m)
	if err != nil { // texts and finite numbers always marshal
		panic(err)
	}
	event := make([]byte, 0, len(data)+len(name)+len(id)+24)
	event = append(append(event, "event: "...), name...)
	if id != "" {
		event = append(append(event, "\nid: "...), id...)
	}
	event = append(append(event, "\ndata: "...), data...)
	return append(event, "\n\n"...)
}
