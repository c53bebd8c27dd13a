package lane

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzFastDecoder decodes bodies in both ways: those that the fast decoder
// accepts, decodeSlow accepts too, with the same result.
func FuzzFastDecoder(f *testing.F) {
	const point = `{"datetime":"2026-07-14T10:00:00Z","lat":46.5001130,"lon":-7.25,"elevation":1200.5,"heading":0}`
	f.Add(true, []byte(`{"flight_id":"a","track_points":[`+point+`,{"lat":1,"lon":2,"datetime":"2026-07-14T10:00:59Z"}]}`))
	f.Add(true, []byte(` { "track_points" : [ `+point+"\t,\n"+point+" ] , \r\"flight_id\" : \"a b\" } \n"))
	f.Add(true, []byte(`{"flight_id":"a","track_points":[{"datetime":"2026-07-14T10:00:00.25+02:00","lat":-0,"lon":179.999999999999}]}`))
	f.Add(false, []byte(`{"flight_uuid":"0192fd2c-7b6a-7c3e-8a51-2f6f0f4c9f10","tracks":[`+
		`{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3,"validity":"A","in_flight":true,"takeoff_condition":false}]}`))
	lanes := All(Options{})
	now := time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, flight bool, body []byte) {
		l, list := lanes[0], "track_points"
		if !flight {
			l, list = lanes[2], "tracks"
		}
		require.Contains(t, []string{"live", "scoring"}, l.Name)
		members, required := pointMembers(l)
		fresh := func() *jsonDecoder {
			return &jsonDecoder{lane: l, list: list, members: members, required: required, options: DecodeOptions{Now: now}}
		}
		read := fresh()
		fields := read.reset(body)
		reader := fastDecoder{jsonDecoder: read, body: body}
		if !reader.decode(fields) {
			return
		}
		fast, fastErr := read.finish(body, fields)

		d := fresh()
		slow, err := d.decodeSlow(body, d.reset(body))
		require.Equal(t, err, fastErr)
		if err != nil {
			return
		}
		require.Empty(t, slow.Rejected)
		// As text, which distinguishes 0 from -0 and floats bit by bit.
		require.Equal(t, everything(slow), everything(fast))
	})
}

func everything(d Decoded) string {
	return fmt.Sprintf("%s %+v %+v %v %q", d.Response, d.Points.Tracks, d.Points.Rows, d.Points.values, d.Points.texts)
}

func TestFastDecoder(t *testing.T) {
	const point = `{"datetime":"2026-07-14T10:00:00Z","lat":46.5,"lon":7.25,"elevation":1200.5}`
	body := func(points ...string) string {
		return `{"flight_id":"a","track_points":[` + strings.Join(points, ",") + `]}`
	}
	with := func(member, value string) string {
		return body(point, strings.Replace(point, `"elevation":1200.5`, `"`+member+`":`+value, 1))
	}
	cases := []struct {
		name, body string
		fast       bool
	}{
		{"as phones write it", body(point, point), true},
		{"with spaces", " { \"flight_id\" :\t\"a\" ,\r\n\"track_points\" : [ { \"lat\" : -1.0 , \"lon\" : 0 , \"datetime\" : \"2026-07-14T10:00:00Z\" } ] } ", true},
		{"fifteen digits", with("speed", "0.12345678901234"), true},
		{"sixteen digits", with("speed", "0.123456789012345"), false},
		{"an exponent", with("speed", "1e1"), false},
		{"a leading zero", with("speed", "01"), false},
		{"no digit before the point", with("speed", ".5"), false},
		{"no digit behind it", with("speed", "5."), false},
		{"a plus", with("speed", "+5"), false},
		{"null", with("speed", "null"), false},
		{"out of range", with("heading", "361"), false},
		{"an unknown member", with("accuracy", "5"), false},
		{"a member twice", with("lat", "46.5"), false},
		{"a missing member", body(`{"lat":1,"lon":2}`), false},
		{"an escape", strings.Replace(body(point), `"a"`, `"\u0061"`, 1), false},
		{"beyond ASCII", strings.Replace(body(point), `"a"`, `"ä"`, 1), false},
		{"no list", `{"flight_id":"a"}`, false},
		{"an empty list", body(), false},
		{"two lists", `{"track_points":[` + point + `],"track_points":[` + point + `]}`, false},
		{"more after it", body(point) + "x", false},
		{"cut off", strings.TrimSuffix(body(point), "}"), false},
		{"nothing", "", false},
	}
	l := All(Options{})[0]
	members, required := pointMembers(l)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := &jsonDecoder{
				lane: l, list: "track_points", members: members, required: required,
				options: DecodeOptions{Now: time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)},
			}
			reader := fastDecoder{jsonDecoder: d, body: []byte(c.body)}
			require.Equal(t, c.fast, reader.decode(d.reset(reader.body)))
		})
	}
}
