package body

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

const secret = "open sesame"

func TestFormat(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.July, 14, 10, 15, 30, 0, time.UTC)
	points := []Point{
		{Time: at, TrackingStart: at.Add(10 * time.Second), Lat: 46.6860512, Lon: -7.5, Altitude: 1954.5},
		{Time: at.Add(time.Second), TrackingStart: at.Add(10 * time.Second), Lat: 46.7, Lon: 0, Altitude: 1955,
			PressureAltitude: new(1930.5), Ground: new(800.0), Speed: new(0.0), Heading: new(211.5),
			Analysis: &Analysis{Validity: "A", LAD: new(7.0), InFlight: true}},
	}
	for _, c := range []struct{ lane, flight, want string }{
		{"live", "anna-1", `{"flight_id":"anna-1","pilot_id":"anna","track_points":[` +
			`{"datetime":"2026-07-14T10:15:30Z","lat":46.6860512,"lon":-7.5,"elevation":1954.5},` +
			`{"datetime":"2026-07-14T10:15:31Z","lat":46.7,"lon":0,"elevation":1955,"barometric_altitude":1930.5,"speed":0,"heading":211.5}]}`},
		{"scoring", "6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e", `{"flight_uuid":"6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e","tracks":[` +
			`{"date_time":"2026-07-14T10:15:30Z","lat":46.6860512,"lon":-7.5,"gps_alt":1954.5},` +
			`{"date_time":"2026-07-14T10:15:31Z","lat":46.7,"lon":0,"gps_alt":1955,"pressure_alt":1930.5,"speed":0,"elevation":800,` +
			`"validity":"A","LAD":7,"takeoff_condition":false,"in_flight":true}]}`},
		{"flymaster", "12345", "12345," + lane.FlymasterKey(12345, secret) + "\n" +
			"1784024140,1784024130,46.6860512,-7.5,1954.5,0,0\n1784024140,1784024131,46.7,0,1955,0,211.5\nEOF\n"},
	} {
		t.Run(c.lane, func(t *testing.T) {
			t.Parallel()
			format := Of(c.lane)
			text := format.AppendTail(format.AppendHead(nil, []byte(c.flight), secret), Sender{PilotID: "anna"}, points)
			assert.Equal(t, c.want, string(text))
		})
	}
}

func TestFormat_IsWhatTheLanesDecode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.July, 14, 10, 15, 30, 0, time.UTC)
	flights := map[string]string{"live": "a", "upload": "b", "scoring": "6b2f31c4-6a0e-4d0a-9d52-5f2f7f5a8d3e", "flymaster": "12345"}
	for _, l := range lane.All(lane.Options{FlymasterSecret: secret}) {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			format := Of(l.Name)
			text := format.AppendTail(format.AppendHead(nil, []byte(flights[l.Name]), secret), Sender{DeviceID: "d"},
				[]Point{{Time: at, TrackingStart: at, Lat: 46.1234567, Lon: 1e-7, Altitude: 1954.25}})
			decoded, err := l.Decode(text, lane.DecodeOptions{Now: at})
			require.NoError(t, err)
			require.Empty(t, decoded.Rejected)
			require.Equal(t, 1, decoded.Points.Len())
			row := decoded.Points.Rows[0]
			assert.Equal(t, []any{at, 46.1234567, 1e-7}, []any{lane.TimeOf(row.Time).UTC(), row.Lat, row.Lon})
		})
	}
}

func TestOf_PanicsForAnUnknownLane(t *testing.T) {
	t.Parallel()
	assert.Panics(t, func() { Of("fast") })
}

func TestRound(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 46.1234568, Round(46.12345675, 7))
	assert.Equal(t, -1.3, Round(-1.25001, 1))
}
