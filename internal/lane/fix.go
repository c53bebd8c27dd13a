package lane

import (
	"math"
	"time"
)

// Flight says whose points a track of the lanes live and upload holds. A field
// that is empty is NULL.
type Flight struct{ ID, DeviceID, PilotID, RaceID string }

// Track returns the flight as a track, or the field at fault and why no point can be
// stored with it.
func (f Flight) Track(options DecodeOptions) (track Track, field, reason string) {
	track = Track{ReceivedAt: options.Now.UnixMicro(), RequestID: options.RequestID}
	texts := [...]string{f.ID, f.DeviceID, f.PilotID, f.RaceID}
	for i, column := range flightColumns() {
		text := texts[i]
		if reason := checkText([]byte(text)); reason != "" {
			return Track{}, column.Name, reason
		}
		if text == "" && column.Required {
			return Track{}, column.Name, "must not be empty"
		}
		track.Fields = append(track.Fields, Field{Value: text, Null: text == ""})
	}
	return track, "", ""
}

// Fix is one position of the lanes live and upload, from a source that is not a
// request in their JSON. A value that the source does not have is NaN.
type Fix struct {
	Time               int64   // Unix microseconds
	Lat, Lon           float64 // degrees, WGS 84
	Elevation          float64 // metres, by GNSS
	BarometricAltitude float64 // metres
	Speed              float64 // over ground, m/s
	Heading            float64 // degrees
}

// NoFix is a Fix without values.
func NoFix() Fix {
	nan := math.NaN()
	return Fix{Elevation: nan, BarometricAltitude: nan, Speed: nan, Heading: nan}
}

// AddFix appends a fix to the points of a track, by the rules that requests in JSON
// have to keep. A fix that breaks one is left out; then AddFix returns the field at
// fault and the reason.
func (p *Points) AddFix(track int32, fix Fix, now time.Time) (field, reason string) {
	if reason := checkTime(fix.Time, now); reason != "" {
		return p.Lane.TimeColumn, reason
	}
	if reason := checkCoordinate(fix.Lat, latLimit); reason != "" {
		return "lat", reason
	}
	if reason := checkCoordinate(fix.Lon, lonLimit); reason != "" {
		return "lon", reason
	}
	row := p.Add(track, fix.Time, fix.Lat, fix.Lon)
	for i, value := range []float64{fix.Elevation, fix.BarometricAltitude, fix.Speed, fix.Heading} {
		if math.IsNaN(value) {
			continue
		}
		column := p.Lane.ValueColumns[i]
		if reason := checkFloat(value, column.Max); reason != "" {
			p.RemoveLast()
			return column.Name, reason
		}
		p.SetFloat(row, i, value)
	}
	return "", ""
}
