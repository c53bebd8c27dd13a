package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

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

// track is what /live and /upload take.
type track struct {
	FlightID    string       `json:"flight_id"`
	DeviceID    string       `json:"device_id"`
	PilotID     string       `json:"pilot_id"`
	RaceID      string       `json:"race_id"`
	TrackPoints []trackPoint `json:"track_points"`
}

type trackPoint struct {
	Time               time.Time `json:"datetime"`
	Lat                float64   `json:"lat"`
	Lon                float64   `json:"lon"`
	Elevation          float64   `json:"elevation"`
	BarometricAltitude float64   `json:"barometric_altitude"`
	Speed              float64   `json:"speed"`
	Heading            float64   `json:"heading"`
}

// live is the post with a few fixes of the flight, while it lasts.
func (r *recording) live(fixes []flight.Fix) post { return jsonPost("live", r.track(fixes)) }

// upload is the post with the whole flight, after landing.
func (r *recording) upload() post { return jsonPost("upload", r.track(r.fixes)) }

func (r *recording) track(fixes []flight.Fix) track {
	points := make([]trackPoint, len(fixes))
	for i, fix := range fixes {
		points[i] = trackPoint{
			Time:               fix.Time,
			Lat:                round(fix.Lat, 7),
			Lon:                round(fix.Lon, 7),
			Elevation:          round(fix.Elevation, 1),
			BarometricAltitude: round(fix.Elevation-pressureOffset, 1),
			Speed:              round(fix.Speed, 2),
			Heading:            round(fix.Heading, 1),
		}
	}
	return track{FlightID: r.flightID, DeviceID: r.deviceID, PilotID: r.pilotID, RaceID: raceID, TrackPoints: points}
}

// scoredFlight is what /scoring takes.
type scoredFlight struct {
	FlightUUID uuid.UUID     `json:"flight_uuid"`
	Tracks     []scoredPoint `json:"tracks"`
}

type scoredPoint struct {
	DateTime           time.Time `json:"date_time"`
	Lat                float64   `json:"lat"`
	Lon                float64   `json:"lon"`
	GPSAlt             float64   `json:"gps_alt"`
	Time               string    `json:"time"`
	RoundedTime        string    `json:"rounded_time"`
	Validity           string    `json:"validity"`
	PressureAlt        float64   `json:"pressure_alt"`
	LAD                float64   `json:"LAD"`
	LOD                float64   `json:"LOD"`
	Speed              float64   `json:"speed"`
	Elevation          float64   `json:"elevation"`
	AltitudeDiff       float64   `json:"altitude_diff"`
	AltitudeDiffSmooth float64   `json:"altitude_diff_smooth"`
	SpeedSmooth        float64   `json:"speed_smooth"`
	TakeoffCondition   bool      `json:"takeoff_condition"`
	InFlight           bool      `json:"in_flight"`
}

// scoring is the post with which the scoring office hands in the flight.
func (r *recording) scoring() post {
	scored := scoredFlight{
		FlightUUID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("tracklane:"+r.flightID)),
		Tracks:     make([]scoredPoint, len(r.fixes)),
	}
	for i, fix := range r.fixes {
		recent := r.fixes[max(0, i+1-smoothedOver) : i+1]
		var climb, speed float64
		for _, f := range recent {
			climb += f.Climb / float64(len(recent))
			speed += f.Speed / float64(len(recent))
		}
		scored.Tracks[i] = scoredPoint{
			DateTime:           fix.Time,
			Lat:                round(fix.Lat, 7),
			Lon:                round(fix.Lon, 7),
			GPSAlt:             round(fix.Elevation, 1),
			Time:               fix.Time.Format(time.TimeOnly),
			RoundedTime:        fix.Time.Round(smoothedOver * time.Second).Format(time.TimeOnly),
			Validity:           "A",
			PressureAlt:        round(fix.Elevation-pressureOffset, 1),
			LAD:                minuteDigits(fix.Lat),
			LOD:                minuteDigits(fix.Lon),
			Speed:              round(fix.Speed, 2),
			Elevation:          round(fix.Ground, 1),
			AltitudeDiff:       round(fix.Climb, 2),
			AltitudeDiffSmooth: round(climb, 2),
			SpeedSmooth:        round(speed, 2),
			TakeoffCondition:   fix.Phase == flight.Gliding && i < smoothedOver,
			InFlight:           fix.Phase == flight.Gliding || fix.Phase == flight.Circling,
		}
	}
	return jsonPost("scoring", scored)
}

// flymaster is the file that the pilot's Flymaster sends of some fixes.
func (r *recording) flymaster(fixes []flight.Fix, sent time.Time, secret string) post {
	serial := strconv.FormatInt(r.serial, 10)
	key := sha256.Sum256([]byte(serial + secret))
	file := fmt.Appendf(nil, "%s,%s\n", serial, hex.EncodeToString(key[:]))
	for _, fix := range fixes {
		file = fmt.Appendf(file, "%d,%d,%.7f,%.7f,%.1f,%.2f,%.1f\n",
			sent.Unix(), fix.Time.Unix(), fix.Lat, fix.Lon, fix.Elevation, fix.Speed, fix.Heading)
	}
	return post{path: "flymaster", contentType: "text/plain", body: append(file, "EOF\n"...)}
}

// jsonPost is a post of a value made of texts, times and finite numbers.
func jsonPost(path string, value any) post {
	body, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("pilots: encode /%s: %v", path, err))
	}
	return post{path: path, contentType: "application/json", body: body}
}

// minuteDigits is what IGC files call LAD and LOD: the fourth and fifth
// decimals of a coordinate's minutes, which a B record has no room for.
func minuteDigits(degrees float64) float64 {
	_, beyond := math.Modf(math.Abs(degrees) * 60 * 1000)
	return math.Floor(beyond * 100)
}

func round(number float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(number*scale) / scale
}
