// Package body writes the requests that devices send to the lanes: it is what
// package lane decodes, from the other side.
//
// A body is a head, which names the flight, and a tail with its points. Only the
// head depends on the flight's name, so a load generator can keep tails ready.
package body

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"tracklane/internal/lane"
)

// Point is a position and what a device says about it. Fields that are nil are
// left out of a body, and so are those that the lane does not have.
type Point struct {
	Time             time.Time // whole seconds for the lane flymaster
	TrackingStart    time.Time // of the device; of the lane flymaster alone
	Lat, Lon         float64   // degrees, WGS 84
	Altitude         float64   // metres, by GPS
	PressureAltitude *float64  // metres
	Ground           *float64  // metres, of the ground below; of the lane scoring alone
	Speed            *float64  // over ground, m/s; 0 for the lane flymaster if nil
	Heading          *float64  // degrees; 0 for the lane flymaster if nil

	// Analysis is what a scoring office adds; of the lane scoring alone.
	Analysis *Analysis
}

// Analysis is what a scoring office computes for a point.
type Analysis struct {
	Time               string   `json:"time,omitempty"`         // of day
	RoundedTime        string   `json:"rounded_time,omitempty"` // of day
	Validity           string   `json:"validity"`               // as in an IGC file: A or V
	LAD                *float64 `json:"LAD,omitempty"`
	LOD                *float64 `json:"LOD,omitempty"`
	AltitudeDiff       *float64 `json:"altitude_diff,omitempty"`        // m/s
	AltitudeDiffSmooth *float64 `json:"altitude_diff_smooth,omitempty"` // m/s
	SpeedSmooth        *float64 `json:"speed_smooth,omitempty"`         // m/s
	TakeoffCondition   bool     `json:"takeoff_condition"`
	InFlight           bool     `json:"in_flight"`
}

// Sender is who sends a flight's points. Empty fields are left out of a body,
// and so are all of them where the lane does not have them.
type Sender struct {
	DeviceID string `json:"device_id,omitempty"`
	PilotID  string `json:"pilot_id,omitempty"`
	RaceID   string `json:"race_id,omitempty"`
}

// Format is how a lane's requests are written. Any number of goroutines may use
// one at the same time.
type Format struct {
	ContentType string

	appendHead func(dst, flight []byte, secret string) []byte
	appendTail func(dst []byte, sender Sender, points []Point) []byte
}

// Of returns the format of a lane by its name. It panics if there is none.
func Of(lane string) Format {
	switch lane {
	case "live", "upload":
		return Format{"application/json", appendJSONHead("flight_id"), appendTrack}
	case "scoring":
		return Format{"application/json", appendJSONHead("flight_uuid"), appendScoring}
	case "flymaster":
		return Format{"text/plain", appendFlymasterHead, appendFlymaster}
	}
	panic(fmt.Sprintf("body: no format for the lane %q", lane))
}

// AppendHead appends the head of a body. flight is the flight's id, its UUID for
// the lane scoring, or the serial number of the device for the lane flymaster,
// whose files are signed with secret. It panics if that is no number.
func (f Format) AppendHead(dst, flight []byte, secret string) []byte {
	return f.appendHead(dst, flight, secret)
}

// AppendTail appends the rest of a body, with points in the order of their times.
// All numbers must be finite.
func (f Format) AppendTail(dst []byte, sender Sender, points []Point) []byte {
	return f.appendTail(dst, sender, points)
}

// appendJSONHead opens the object and writes its first member.
func appendJSONHead(name string) func(dst, flight []byte, _ string) []byte {
	start := `{"` + name + `":"`
	return func(dst, flight []byte, _ string) []byte {
		return append(append(append(dst, start...), flight...), '"')
	}
}

// appendJSONTail appends the members of value to the object that the head opened.
func appendJSONTail(dst []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("body: encode %T: %v", value, err)) // a number that is not finite
	}
	text[0] = ','
	return append(dst, text...)
}

func appendTrack(dst []byte, sender Sender, points []Point) []byte {
	type trackPoint struct {
		Time               time.Time `json:"datetime"`
		Lat                float64   `json:"lat"`
		Lon                float64   `json:"lon"`
		Elevation          float64   `json:"elevation"`
		BarometricAltitude *float64  `json:"barometric_altitude,omitempty"`
		Speed              *float64  `json:"speed,omitempty"`
		Heading            *float64  `json:"heading,omitempty"`
	}
	track := struct {
		Sender
		TrackPoints []trackPoint `json:"track_points"`
	}{sender, make([]trackPoint, len(points))}
	for i, p := range points {
		track.TrackPoints[i] = trackPoint{p.Time, p.Lat, p.Lon, p.Altitude, p.PressureAltitude, p.Speed, p.Heading}
	}
	return appendJSONTail(dst, track)
}

func appendScoring(dst []byte, _ Sender, points []Point) []byte {
	type scoringPoint struct {
		Time        time.Time `json:"date_time"`
		Lat         float64   `json:"lat"`
		Lon         float64   `json:"lon"`
		GPSAlt      float64   `json:"gps_alt"`
		PressureAlt *float64  `json:"pressure_alt,omitempty"`
		Speed       *float64  `json:"speed,omitempty"`
		Elevation   *float64  `json:"elevation,omitempty"`
		*Analysis
	}
	flight := struct {
		Tracks []scoringPoint `json:"tracks"`
	}{make([]scoringPoint, len(points))}
	for i, p := range points {
		flight.Tracks[i] = scoringPoint{p.Time, p.Lat, p.Lon, p.Altitude, p.PressureAltitude, p.Speed, p.Ground, p.Analysis}
	}
	return appendJSONTail(dst, flight)
}

func appendFlymasterHead(dst, serial []byte, secret string) []byte {
	number, err := strconv.ParseInt(string(serial), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("body: %q is no serial number", serial))
	}
	dst = append(append(dst, serial...), ',')
	dst = append(dst, lane.FlymasterKey(number, secret)...)
	return append(dst, '\n')
}

func appendFlymaster(dst []byte, _ Sender, points []Point) []byte {
	for _, p := range points {
		dst = strconv.AppendInt(dst, p.TrackingStart.Unix(), 10)
		dst = strconv.AppendInt(append(dst, ','), p.Time.Unix(), 10)
		for _, number := range []float64{p.Lat, p.Lon, p.Altitude, orZero(p.Speed), orZero(p.Heading)} {
			dst = strconv.AppendFloat(append(dst, ','), number, 'f', -1, 64)
		}
		dst = append(dst, '\n')
	}
	return append(dst, "EOF\n"...)
}

func orZero(number *float64) float64 {
	if number == nil {
		return 0
	}
	return *number
}

// Round returns the float that a server reads from a number written with so many
// decimals: the one nearest to that decimal number. In a body it has no more.
func Round(number float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(number*scale) / scale
}
