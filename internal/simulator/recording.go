package simulator

import (
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"tracklane/internal/body"
	"tracklane/internal/simulator/flight"
)

// recording is what a pilot's instruments have recorded of one flight.
type recording struct {
	flightID string
	pilotID  string
	deviceID string // of the phone
	serial   int64  // of the Flymaster
	fixes    []flight.Fix
	reported int // how many of the fixes were sent live
}

const (
	firstSerial = 700_001 // of the Flymasters
	raceID      = "krushevo-open"

	// pressureOffset is how much lower a barometer set to the standard
	// atmosphere reads on the day.
	pressureOffset = 28.0

	smoothedOver = 10 // fixes
)

// live is the post with a few fixes of the flight, while it lasts.
func (r *recording) live(fixes []flight.Fix) post { return r.track("live", fixes) }

// upload is the post with the whole flight, after landing.
func (r *recording) upload() post { return r.track("upload", r.fixes) }

func (r *recording) track(lane string, fixes []flight.Fix) post {
	points := make([]body.Point, len(fixes))
	for i, fix := range fixes {
		points[i] = pointOf(fix)
	}
	return r.post(lane, r.flightID, "", points)
}

// scoring is the post with which the scoring office hands in the flight.
func (r *recording) scoring() post {
	points := make([]body.Point, len(r.fixes))
	for i, fix := range r.fixes {
		recent := r.fixes[max(0, i+1-smoothedOver) : i+1]
		var climb, speed float64
		for _, f := range recent {
			climb += f.Climb / float64(len(recent))
			speed += f.Speed / float64(len(recent))
		}
		points[i] = pointOf(fix)
		points[i].Analysis = &body.Analysis{
			Time:               fix.Time.Format(time.TimeOnly),
			RoundedTime:        fix.Time.Round(smoothedOver * time.Second).Format(time.TimeOnly),
			Validity:           "A",
			LAD:                new(minuteDigits(fix.Lat)),
			LOD:                new(minuteDigits(fix.Lon)),
			AltitudeDiff:       new(body.Round(fix.Climb, 2)),
			AltitudeDiffSmooth: new(body.Round(climb, 2)),
			SpeedSmooth:        new(body.Round(speed, 2)),
			TakeoffCondition:   fix.Phase == flight.Gliding && i < smoothedOver,
			InFlight:           fix.Phase == flight.Gliding || fix.Phase == flight.Circling,
		}
	}
	return r.post("scoring", uuid.NewSHA1(uuid.NameSpaceURL, []byte("tracklane:"+r.flightID)).String(), "", points)
}

// flymaster is the file that the pilot's Flymaster sends of some fixes.
func (r *recording) flymaster(fixes []flight.Fix, trackingStart time.Time, secret string) post {
	points := make([]body.Point, len(fixes))
	for i, fix := range fixes {
		points[i] = pointOf(fix)
		points[i].TrackingStart = trackingStart
	}
	return r.post("flymaster", strconv.FormatInt(r.serial, 10), secret, points)
}

func (r *recording) post(lane, identity, secret string, points []body.Point) post {
	format := body.Of(lane)
	text := format.AppendHead(nil, []byte(identity), secret)
	sender := body.Sender{DeviceID: r.deviceID, PilotID: r.pilotID, RaceID: raceID}
	return post{path: lane, contentType: format.ContentType, body: format.AppendTail(text, sender, points)}
}

// pointOf is a fix as the pilot's instruments show it.
func pointOf(fix flight.Fix) body.Point {
	return body.Point{
		Time:             fix.Time,
		Lat:              body.Round(fix.Lat, 7),
		Lon:              body.Round(fix.Lon, 7),
		Altitude:         body.Round(fix.Elevation, 1),
		PressureAltitude: new(body.Round(fix.Elevation-pressureOffset, 1)),
		Ground:           new(body.Round(fix.Ground, 1)),
		Speed:            new(body.Round(fix.Speed, 2)),
		Heading:          new(body.Round(fix.Heading, 1)),
	}
}

// minuteDigits is what IGC files call LAD and LOD: the fourth and fifth
// decimals of a coordinate's minutes, which a B record has no room for.
func minuteDigits(degrees float64) float64 {
	_, beyond := math.Modf(math.Abs(degrees) * 60 * 1000)
	return math.Floor(beyond * 100)
}
