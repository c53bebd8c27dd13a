// Package flight simulates paragliding flights: a pilot waits, takes off,
// circles up in thermals that drift with the wind, glides from one to the next
// along a route, and lands. It knows nothing of networks or clocks.
package flight

import (
	"math"
	"math/rand/v2"
	"time"
)

// Phase is what a pilot is doing.
type Phase uint8

// The phases, in the order of a flight; Circling and Gliding alternate.
const (
	Waiting Phase = iota
	Gliding
	Circling
	Landed
)

// Fix is where a pilot is at one second of a flight, as an instrument would
// record it.
type Fix struct {
	Time      time.Time // UTC
	Phase     Phase
	Lat, Lon  float64 // degrees, WGS 84
	Elevation float64 // metres above sea level
	Ground    float64 // metres above sea level, of the ground below
	Speed     float64 // over ground, m/s
	Heading   float64 // course over ground, degrees 0 to 360
	Climb     float64 // m/s, negative when sinking
}

// Flight is one pilot's flight. It moves one second with each call of Next.
// The same seed gives the same flight. A Flight is not safe for concurrent
// use.
type Flight struct {
	site   Site
	random *rand.Rand
	fix    Fix

	next         Phase // what the coming second is spent with
	wait         int   // seconds until take-off
	thermals     int   // thermals that the pilot will still find
	route        []vector
	position     vector  // metres east and north of the take-off
	airHeading   float64 // radians clockwise from north
	airspeed     float64 // m/s through the air
	turnRate     float64 // radians a second, negative to the left
	strength     float64 // m/s, of the thermal being climbed in
	top          float64 // metres, where the pilot leaves that thermal
	searchHeight float64 // metres above ground, where the pilot finds the next
}

// vector is a position or a movement in the plane, in metres.
type vector struct{ east, north float64 }

// The flying characteristics of a paraglider, and the weather of the day.
const (
	sinkGliding    = 1.1 // m/s
	weakestClimb   = 1.0 // m/s
	strongestClimb = 4.0 // m/s
	slowestAir     = 9.0 // m/s
	fastestAir     = 11.0
	windEast       = 1.6 // m/s, towards the east
	windNorth      = -0.6
	lowestTop      = 2100.0 // metres above sea level
	highestTop     = 2700.0
	reached        = 400.0 // metres from a waypoint that count as there
)

// New returns a flight from site whose first fix, at start, shows the pilot
// ready for take-off. The pilot takes off after wait, cut to seconds.
func New(site Site, start time.Time, wait time.Duration, seed uint64) *Flight {
	random := rand.New(rand.NewPCG(seed, 0x7472_6163_6b6c_616e))
	f := &Flight{
		site:     site,
		random:   random,
		wait:     int(wait / time.Second),
		thermals: 1 + random.IntN(3),
		route:    site.route(random),
		// On the side of the hill that faces the route, or they could not leave.
		position: vector{east: 10 + 15*random.Float64(), north: -15 * random.Float64()},
	}
	f.fix = Fix{Time: start.UTC(), Phase: Waiting}
	f.settle()
	return f
}

// Fix returns where the pilot is now.
func (f *Flight) Fix() Fix { return f.fix }

// Next moves the flight by one second and returns the new fix. A pilot who has
// landed stays where they are.
func (f *Flight) Next() Fix {
	f.fix.Time = f.fix.Time.Add(time.Second)
	f.fix.Phase = f.next
	switch f.next {
	case Waiting:
		if f.wait--; f.wait < 0 {
			f.takeOff()
		}
	case Gliding:
		f.glide()
	case Circling:
		f.circle()
	case Landed:
		f.fix.Speed, f.fix.Climb = 0, 0
	}
	return f.fix
}

// Fly returns all fixes of the flight from take-off to landing.
func (f *Flight) Fly() []Fix {
	var fixes []Fix
	for f.fix.Phase != Landed {
		if fix := f.Next(); fix.Phase != Waiting {
			fixes = append(fixes, fix)
		}
	}
	return fixes
}

func (f *Flight) takeOff() {
	f.airHeading = f.bearing(f.route[0])
	f.startGlide()
	f.fix.Phase = Gliding
	f.glide()
}

func (f *Flight) startGlide() {
	f.next = Gliding
	f.airspeed = f.between(slowestAir, fastestAir)
	f.searchHeight = f.between(250, 600)
}

// glide flies towards the next waypoint. Low enough, the pilot finds a
// thermal, as long as the day has one left for them.
func (f *Flight) glide() {
	if f.distance(f.route[0]) < reached {
		if len(f.route) > 1 {
			f.route = f.route[1:]
		} else {
			f.thermals = 0 // at the goal: time to land
		}
	}
	// A glider cannot turn on the spot: at most 15 degrees a second.
	turn := normalize(f.bearing(f.route[0]) - f.airHeading)
	f.airHeading += min(max(turn, -math.Pi/12), math.Pi/12) + f.between(-0.02, 0.02)
	f.move(-sinkGliding + f.between(-0.3, 0.3))
	height := f.fix.Elevation - f.fix.Ground
	switch {
	case height <= 0:
		f.land()
	case height < f.searchHeight && height > 60 && f.thermals > 0:
		f.enterThermal()
	}
}

func (f *Flight) enterThermal() {
	f.thermals--
	f.next = Circling
	f.strength = f.between(weakestClimb+0.3, strongestClimb-0.3)
	f.top = f.between(lowestTop, highestTop)
	f.turnRate = 2 * math.Pi / f.between(16, 22)
	if f.random.IntN(2) == 0 {
		f.turnRate = -f.turnRate
	}
}

// circle turns in the thermal's core, which the wind carries along with the
// pilot.
func (f *Flight) circle() {
	f.airHeading += f.turnRate
	f.move(f.strength + f.between(-0.3, 0.3))
	if f.fix.Elevation >= f.top {
		f.startGlide()
	}
}

// move flies one second along the heading, carried by the wind.
func (f *Flight) move(climb float64) {
	speed := f.airspeed + f.between(-0.3, 0.3)
	step := vector{
		east:  speed*math.Sin(f.airHeading) + windEast,
		north: speed*math.Cos(f.airHeading) + windNorth,
	}
	f.position.east += step.east
	f.position.north += step.north
	f.fix.Climb = climb
	f.fix.Elevation += climb
	f.fix.Speed = math.Hypot(step.east, step.north)
	f.fix.Heading = compass(step)
	f.fix.Lat, f.fix.Lon = f.site.coordinates(f.position)
	f.fix.Ground = f.site.ground(f.position)
}

func (f *Flight) land() {
	f.next, f.fix.Phase = Landed, Landed
	f.settle()
}

// settle puts the pilot on the ground where they are.
func (f *Flight) settle() {
	f.fix.Lat, f.fix.Lon = f.site.coordinates(f.position)
	f.fix.Ground = f.site.ground(f.position)
	f.fix.Elevation = f.fix.Ground
	f.fix.Speed, f.fix.Climb = 0, 0
}

func (f *Flight) between(low, high float64) float64 {
	return low + (high-low)*f.random.Float64()
}

// bearing is the direction from the pilot to a place, in radians clockwise
// from north.
func (f *Flight) bearing(to vector) float64 {
	return math.Atan2(to.east-f.position.east, to.north-f.position.north)
}

func (f *Flight) distance(to vector) float64 {
	return math.Hypot(to.east-f.position.east, to.north-f.position.north)
}

// normalize brings an angle between -π and π.
func normalize(angle float64) float64 { return math.Remainder(angle, 2*math.Pi) }

// compass is the direction of a movement in degrees, 0 to 360.
func compass(step vector) float64 {
	degrees := math.Atan2(step.east, step.north) * 180 / math.Pi
	if degrees < 0 {
		degrees += 360
	}
	return degrees
}
