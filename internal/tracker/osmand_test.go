package tracker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// point begins every point of these tests, and noon is its time.
	noon = "1783944000"
)

func at(app, device, rest string) string {
	return `{"flight_id":"` + app + `-` + device + `-20260713","device_id":"` + device +
		`","datetime":"2026-07-13T12:00:00Z",` + rest + `}`
}

func TestOsmAnd_StoresParameters(t *testing.T) {
	t.Parallel()
	const path = "/live/osmand"
	place := path + "?id=7&lat=46.5&lon=7.25"
	want := at("osmand", "7", `"lat":46.5,"lon":7.25`)
	cases{
		"Unix seconds":             {request: request{target: place + "&timestamp=" + noon}, want: want},
		"Unix milliseconds":        {request: request{target: place + "&timestamp=" + noon + "000"}, want: want},
		"an ISO time":              {request: request{target: place + "&timestamp=2026-07-13T12%3A00%3A00Z"}, want: want},
		"a zone without a colon":   {request: request{target: place + "&timestamp=2026-07-13T14:00:00%2B0200"}, want: want},
		"a plus that nobody wrote": {request: request{target: place + "&timestamp=2026-07-13T14:00:00+02:00"}, want: want},
		"a location":               {request: request{target: path + "?id=7&location=46.5,7.25&timestamp=" + noon}, want: want},
		"deviceid":                 {request: request{target: path + "?deviceid=7&lat=46.5&lon=7.25&timestamp=" + noon}, want: want},
		"a form":                   {request: request{target: path, body: "id=7&lat=46.5&lon=7.25&timestamp=" + noon}, want: want},
		"a form beside a token":    {request: request{target: path + "?token=x", body: "id=7&lat=46.5&lon=7.25&timestamp=" + noon}, want: want},
		"what nobody knows":        {request: request{target: place + "&timestamp=" + noon + "&cell=257,02,16&wifi=00-14;x&rpm=933&ignition=true&%zz"}, want: want},
		"what LK8000 sends": {request: request{target: place + "&valid=true&timestamp=" + noon + "&altitude=1800&speed=12.5&heading=359"},
			want: at("osmand", "7", `"lat":46.5,"lon":7.25,"elevation":1800,"speed":12.5,"heading":359`)},
		"knots": {request: request{target: place + "&timestamp=" + noon + "&speed=knots&speed=36&bearing=0"},
			want: at("osmand", "7", `"lat":46.5,"lon":7.25,"speed":18.52,"heading":0`)},
		"km/h": {request: request{target: place + "&timestamp=" + noon + "&speed=km/h&speed=36"}, want: at("osmand", "7", `"lat":46.5,"lon":7.25,"speed":10`)},
		"zeros are values": {request: request{target: place + "&timestamp=" + noon + "&speed=0.0&bearing=0.0&altitude=0&hdop=0.0"},
			want: at("osmand", "7", `"lat":46.5,"lon":7.25,"elevation":0,"speed":0,"heading":0`)},
		"cells without a place":    {request: request{target: path + "?id=7&timestamp=" + noon + "&cell=228,01,7,1&cell=228,01,7,2,-90&wifi=02-00-00-00-00-01,-80"}},
		"a unit alone":             {request: request{target: place + "&timestamp=" + noon + "&speed=knots"}, want: want},
		"unknown speed and course": {request: request{target: place + "&timestamp=" + noon + "&speed=-1&bearing=-1&altitude="}, want: want},
		"no place":                 {request: request{target: path + "?id=7&timestamp=" + noon + "&batt=87"}},
		"no time":                  {request: request{target: place}, rejected: "timestamp is missing"},
		"no zone":                  {request: request{target: place + "&timestamp=2026-07-13+12%3A00%3A00"}, rejected: "timestamp must have a zone: end it with Z or an offset such as +02:00"},
		"half a place":             {request: request{target: path + "?id=7&lat=1&timestamp=" + noon}, rejected: "lon must be a number"},
		"an invalid fix":           {request: request{target: place + "&valid=false&timestamp=" + noon}, rejected: "valid says that the position is not valid"},
		"a template left as it is": {request: request{target: path + "?id=7&lat={0}&lon={1}&timestamp={2}"}, rejected: "timestamp must be Unix seconds, or a time such as 2026-07-14T12:30:05Z"},
		"a speed of text":          {request: request{target: place + "&timestamp=" + noon + "&speed=fast"}, rejected: "speed must be a number"},
	}.run(t, "osmand")
}

func TestGPSLogger_StoresAllOfIt(t *testing.T) {
	t.Parallel()
	cases{"%ALL": {
		request: request{target: "/live/gpslogger?lat=46.5&lon=7.25&sat=9&desc=&alt=1800.0&acc=4.0&dir=270.0&prov=gps&spd_kph=36.0&spd=10.0&timestamp=" + noon +
			"&timeoffset=2026-07-13T14:00:00.000+02:00&time=2026-07-13T12:00:00.000Z&starttimestamp=1783940000&date=2026-07-13&batt=80.0&ischarging=false" +
			"&aid=ab12&ser=unknown&act=&filename=20260713&profile=Default+Profile&hdop=&vdop=&pdop=&dist=0"},
		want: at("gpslogger", "ab12", `"lat":46.5,"lon":7.25,"elevation":1800,"speed":10,"heading":270`),
	}, "%SPD_KPH alone": {
		request: request{target: "/live/gpslogger?aid=ab12&lat=46.5&lon=7.25&spd_kph=36&time=2026-07-13T12:00:00.000Z"},
		want:    at("gpslogger", "ab12", `"lat":46.5,"lon":7.25,"speed":10`),
	}}.run(t, "gpslogger")
}

func TestTraccar_StoresAllGenerations(t *testing.T) {
	t.Parallel()
	const path = "/live/traccar"
	full := at("traccar", "7", `"lat":46.5,"lon":7.25,"elevation":1800,"speed":18.52,"heading":90`)
	cases{
		"8, the query":    {request: request{target: path + "?id=7&timestamp=" + noon + "&lat=46.5&lon=7.25&speed=36&bearing=90&altitude=1800&accuracy=5&batt=80&charge=true"}, want: full},
		"10, a form":      {request: request{target: path, body: "id=7&timestamp=" + noon + "&lat=46.5&lon=7.25&speed=36&bearing=90&altitude=1800&accuracy=5&batt=80"}, want: full},
		"10, a heartbeat": {request: request{target: path, body: "id=7&timestamp=" + noon + "&batt=80"}},
		"9, JSON": {request: request{target: path, body: `{"location":{"timestamp":"2026-07-13T12:00:00.000Z","coords":{"latitude":46.5,"longitude":7.25,"accuracy":5,"speed":18.52,
			"heading":90,"altitude":1800},"is_moving":true,"odometer":12,"event":"motionchange","battery":{"level":-1,"is_charging":false},"activity":{"type":"still"},
			"extras":{"n":1.5,"flag":true},"_":"&id=8&lat=1&lon=2"},"device_id":"7"}`}, want: full},
		"9, nothing known": {request: request{target: path, body: `{"location":{"timestamp":"2026-07-13T12:00:00Z","mock":true,"coords":{"latitude":46.5,"longitude":7.25,"speed":-1,
			"heading":-1,"floor":null,"altitude_accuracy":-1},"extras":{}},"device_id":7}`}, want: at("traccar", "7", `"lat":46.5,"lon":7.25`)},
		"9, standing still": {request: request{target: path, body: `{"location":{"timestamp":"2026-07-13T12:00:00.000Z","coords":{"latitude":46.5,"longitude":7.25,"accuracy":5,"speed":0,
			"speed_accuracy":-1,"heading":-1,"heading_accuracy":-1,"altitude":0,"ellipsoidal_altitude":47},"age":188,"uuid":"x","extras":{"n":12,"text":"x"}},"device_id":"7"}`},
			want: at("traccar", "7", `"lat":46.5,"lon":7.25,"elevation":0,"speed":0`)},
		"LK8000": {request: request{target: path, body: `{"location":{"timestamp":"2026-07-13T12:00:00.000Z","coords":{"latitude":46.5,"longitude":7.25,"speed":18.52,"heading":90,"altitude":1800},
			"activity":{"type":"flying"}},"device_id":"7"}`}, want: full},
		"an array": {request: request{target: path, body: `[{"id":"7","lat":46.5,"lon":7.25,"timestamp":` + noon + `,"speed":36,"bearing":90,"altitude":1800},{"id":"7","timestamp":1},{"x":1},5]`},
			want: full, rejected: " must be an object with a position;  must be an object with a position"},
		"a location that is none": {request: request{target: path, body: `{"location":{"coords":7},"device_id":"7"}`}, rejected: " must be an object with a position"},
		"9, no time":              {request: request{target: path, body: `{"location":{"coords":{"latitude":46.5,"longitude":7.25}},"device_id":"7"}`}, rejected: "timestamp is missing"},
	}.run(t, "traccar")
}

func TestTraccar_TellsDistress(t *testing.T) {
	t.Parallel()
	for _, r := range []request{
		{target: "/live/traccar?id=7&alarm=sos&timestamp=" + noon + "&lat=1&lon=2"},
		{target: "/live/traccar", body: "id=7&alarm=sos&timestamp=" + noon},
		{target: "/live/traccar", body: `{"location":{"timestamp":"2026-07-13T12:00:00Z","coords":{"latitude":1,"longitude":2},"extras":{"alarm":"sos"}},"device_id":"7"}`},
	} {
		report, _, err := r.send(t, adapter(t, "traccar"))
		require.NoError(t, err)
		assert.Equal(t, "sos", report.Distress)
		assert.Equal(t, "7", report.Device)
	}
}
