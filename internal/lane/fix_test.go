package lane

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fix is what the same point in JSON is.
func TestAddFix_MakesThePointThatJSONMakes(t *testing.T) {
	t.Parallel()
	upload := All(Options{})[1]
	now := time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)
	options := DecodeOptions{Now: now, RequestID: "r"}
	fromJSON, err := upload.Decode([]byte(`{"flight_id":"f","pilot_id":"anna","track_points":[{"datetime":"2026-07-14T10:15:30.5Z",
		"lat":46.68605,"lon":7.86372,"elevation":1954,"heading":211}]}`), options)
	require.NoError(t, err)
	track, field, reason := Flight{ID: "f", PilotID: "anna"}.Track(options)
	require.Empty(t, field+reason)
	points := NewPoints(upload, 1)
	fix := NoFix()
	fix.Time, fix.Lat, fix.Lon = now.Add(-104*time.Minute-29500*time.Millisecond).UnixMicro(), 46.68605, 7.86372
	fix.Elevation, fix.Heading = 1954, 211
	field, reason = points.AddFix(points.AddTrack(track), fix, now)
	require.Empty(t, field+reason)
	assert.Equal(t, string(fromJSON.Points.AppendPoint(nil, 0)), string(points.AppendPoint(nil, 0)))
}

func TestAddFix_LeavesOutWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)
	for field, change := range map[string]func(*Fix){
		"datetime":            func(f *Fix) { f.Time = now.Add(25 * time.Hour).UnixMicro() },
		"lat":                 func(f *Fix) { f.Lat = math.NaN() },
		"lon":                 func(f *Fix) { f.Lon = 180.1 },
		"heading":             func(f *Fix) { f.Heading = 361 },
		"barometric_altitude": func(f *Fix) { f.BarometricAltitude = math.Inf(1) },
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			points := NewPoints(All(Options{})[1], 1)
			fix := NoFix()
			fix.Time, fix.Lat, fix.Lon = now.UnixMicro(), 1, 2
			change(&fix)
			got, reason := points.AddFix(0, fix, now)
			assert.Equal(t, field, got)
			assert.NotEmpty(t, reason)
			assert.Zero(t, points.Len())
		})
	}
}

func TestFlight_IsRefusedWithATextThatCannotBeStored(t *testing.T) {
	t.Parallel()
	for name, flight := range map[string]Flight{
		"flight_id": {},
		"device_id": {ID: "f", DeviceID: strings.Repeat("x", 101)},
		"pilot_id":  {ID: "f", PilotID: "\x00"},
		"race_id":   {ID: "f", RaceID: "\xff"},
	} {
		_, field, reason := flight.Track(DecodeOptions{})
		assert.Equal(t, name, field)
		assert.NotEmpty(t, reason)
	}
}
