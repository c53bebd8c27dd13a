package lane_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

var now = time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)

func laneNamed(t testing.TB, name string, options lane.Options) *lane.Lane {
	t.Helper()
	for _, l := range lane.All(options) {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("there is no lane %q", name)
	return nil
}

func decode(t *testing.T, name, body string) (lane.Decoded, error) {
	t.Helper()
	return laneNamed(t, name, lane.Options{}).Decode([]byte(body), lane.DecodeOptions{Now: now, RequestID: "r1"})
}

// livePoint is a good point with members replaced or added.
func liveBody(points ...string) string {
	return `{"flight_id":"f1","track_points":[` + strings.Join(points, ",") + `]}`
}

const goodPoint = `{"datetime":"2026-07-14T11:59:59.25Z","lat":46.5,"lon":7.25}`

func TestLane_DecodeLiveReadsEveryMember(t *testing.T) {
	decoded, err := decode(t, "live", `{"race_id":"r","track_points":[{"heading":360,"lon":-7.123456789012345,
		"speed":1e1,"lat":46.1,"datetime":"2026-07-14T13:59:59.1234567+02:00","elevation":-1.5,"barometric_altitude":0,
		"unknown":{"a":[1,null]}}],"flight_id":"Flug Ä","device_id":"d","pilot_id":null,"x":1}`)
	require.NoError(t, err)
	require.Empty(t, decoded.Rejected)
	require.Equal(t, 1, decoded.Points.Len())
	assert.JSONEq(t, `{"flight_id":"Flug Ä","device_id":"d","race_id":"r","datetime":"2026-07-14T11:59:59.123456Z",
		"lat":46.1,"lon":-7.123456789012345,"elevation":-1.5,"barometric_altitude":0,"speed":10,"heading":360,
		"received_at":"2026-07-14T12:00:00Z"}`, string(decoded.Points.AppendPoint(nil, 0)))
	assert.Equal(t, "r1", decoded.Points.Tracks[0].RequestID)
}

func TestLane_DecodeNamesPointsThatCannotBeRight(t *testing.T) {
	point := func(datetime, lat, lon, more string) string {
		return fmt.Sprintf(`{"datetime":%s,"lat":%s,"lon":%s%s}`, datetime, lat, lon, more)
	}
	const at = `"2026-07-14T11:00:00Z"`
	for name, c := range map[string]struct{ point, field, reason string }{
		"latitude just too large":     {point(at, "90.0000001", "1", ""), "lat", "must be between -90 and 90"},
		"longitude too small":         {point(at, "1", "-180.5", ""), "lon", "must be between -180 and 180"},
		"latitude not finite":         {point(at, "1e999", "1", ""), "lat", "must be between -90 and 90"},
		"latitude a string":           {point(at, `"46"`, "1", ""), "lat", "must be a number"},
		"latitude null":               {point(at, "null", "1", ""), "lat", "is missing"},
		"no longitude":                {`{"datetime":` + at + `,"lat":1}`, "lon", "is missing"},
		"no time":                     {`{"lat":1,"lon":1}`, "datetime", "is missing"},
		"time a number":               {point("1", "1", "1", ""), "datetime", "must be a string"},
		"time without a zone":         {point(`"2026-07-14T11:00:00"`, "1", "1", ""), "datetime", "must have a zone: end it with Z or an offset such as +02:00"},
		"time not a date":             {point(`"2026-02-30T11:00:00Z"`, "1", "1", ""), "datetime", "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		"empty time":                  {point(`""`, "1", "1", ""), "datetime", "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		"60 seconds at noon":          {point(`"2026-07-14T11:00:60Z"`, "1", "1", ""), "datetime", "must not have 60 seconds except in a leap second, at 23:59:60 UTC"},
		"before 1990":                 {point(`"1989-12-31T23:59:59.999999Z"`, "1", "1", ""), "datetime", "must not be before 1990"},
		"an hour of one digit":        {point(`"2026-07-14T1:00:00Z"`, "1", "1", ""), "datetime", "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		"a decimal comma":             {point(`"2026-07-14T11:00:00,5Z"`, "1", "1", ""), "datetime", "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		"an offset of a day":          {point(`"2026-07-14T11:00:00+24:00"`, "1", "1", ""), "datetime", "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		"an offset of sixty minutes":  {point(`"2026-07-14T11:00:00-01:60"`, "1", "1", ""), "datetime", "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"},
		"more than a day ahead":       {point(`"2026-07-15T12:00:00.000001Z"`, "1", "1", ""), "datetime", "must not be more than 24 hours ahead"},
		"heading above 360":           {point(at, "1", "1", `,"heading":360.5`), "heading", "must be between 0 and 360"},
		"speed not finite":            {point(at, "1", "1", `,"speed":-1e400`), "speed", "must be a finite number"},
		"elevation true":              {point(at, "1", "1", `,"elevation":true`), "elevation", "must be a number"},
		"a number instead of a point": {"7", "", "must be an object"},
		"a list instead of a point":   {"[1,[2]]", "", "must be an object"},
	} {
		t.Run(name, func(t *testing.T) {
			decoded, err := decode(t, "live", liveBody(goodPoint, c.point, goodPoint))
			require.NoError(t, err)
			assert.Equal(t, 2, decoded.Points.Len(), "good points")
			assert.Equal(t, []lane.Rejection{{Index: 1, Field: c.field, Error: c.reason}}, decoded.Rejected)
			assert.Equal(t, 1, decoded.RejectedTotal)
		})
	}
}

func TestLane_DecodeKeepsTimesAtTheLimits(t *testing.T) {
	for text, want := range map[string]string{
		"1990-01-01T00:00:00Z":           "1990-01-01T00:00:00Z",
		"2026-07-15T12:00:00Z":           "2026-07-15T12:00:00Z",
		"2016-12-31T23:59:60Z":           "2017-01-01T00:00:00Z",
		"2017-01-01T00:59:60.5+01:00":    "2017-01-01T00:00:00.5Z",
		"2020-01-01T00:00:00.123456999Z": "2020-01-01T00:00:00.123456Z",
		"2020-01-01T00:00:00-00:30":      "2020-01-01T00:30:00Z",
	} {
		t.Run(text, func(t *testing.T) {
			decoded, err := decode(t, "upload", liveBody(strings.Replace(goodPoint, "2026-07-14T11:59:59.25Z", text, 1)))
			require.NoError(t, err)
			require.Empty(t, decoded.Rejected)
			assert.Equal(t, want, lane.TimeOf(decoded.Points.Rows[0].Time).Format(time.RFC3339Nano))
		})
	}
}

func TestLane_DecodeSaysWhatIsMalformed(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"empty":                  {"", "The body is empty; send a JSON object."},
		"white space":            {" \n ", "The body is empty; send a JSON object."},
		"a list":                 {"[]", "The body must be a JSON object."},
		"cut off":                {`{"flight_id":"f","track_points":[{"lat":1`, "The body is not valid JSON"},
		"cut off after a point":  {`{"flight_id":"f","track_points":[` + goodPoint, "The body is not valid JSON"},
		"comma too many":         {liveBody(goodPoint, ""), "The body is not valid JSON"},
		"NaN":                    {liveBody(`{"datetime":"2026-07-14T11:00:00Z","lat":NaN,"lon":1}`), "The body is not valid JSON"},
		"two objects":            {liveBody(goodPoint) + "{}", "There is more after the JSON object"},
		"no points":              {`{"flight_id":"f"}`, `"track_points" is missing.`},
		"points not a list":      {`{"flight_id":"f","track_points":{}}`, `"track_points" must be a list.`},
		"no flight":              {`{"track_points":[` + goodPoint + `]}`, `"flight_id" is missing.`},
		"flight a number":        {`{"flight_id":5,"track_points":[]}`, `"flight_id" must be a string.`},
		"flight null":            {`{"flight_id":null,"track_points":[]}`, `"flight_id" is missing.`},
		"nested without an end":  {`{"flight_id":"f","x":` + strings.Repeat("[", 1<<20), "The body is not valid JSON"},
		"nested too deep":        {`{"flight_id":"f","x":` + strings.Repeat("[", 1<<16) + strings.Repeat("]", 1<<16) + `,"track_points":[]}`, "The body is not valid JSON"},
		"control byte in a text": {"{\"flight_id\":\"a\nb\",\"track_points\":[]}", "The body is not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(t, "live", c.body)
			var malformed *lane.MalformedError
			require.ErrorAs(t, err, &malformed)
			assert.Contains(t, malformed.Reason, c.want)
		})
	}
}

func TestLane_DecodeNamesEachPointOfATrackThatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ id, reason string }{
		"empty":         {"", "must not be empty"},
		"too long":      {strings.Repeat("ä", 101), "must be at most 100 characters long"},
		"NUL":           {`a\u0000b`, "must not contain a NUL character"},
		"invalid UTF-8": {"a\xff", "must be valid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			decoded, err := decode(t, "live", `{"track_points":[`+goodPoint+`,`+goodPoint+`],"flight_id":"`+c.id+`"}`)
			require.NoError(t, err)
			assert.Zero(t, decoded.Points.Len())
			assert.Equal(t, 2, decoded.RejectedTotal)
			assert.Equal(t, lane.Rejection{Index: 1, Field: "flight_id", Error: c.reason}, decoded.Rejected[1])
		})
	}
	decoded, err := decode(t, "live", `{"flight_id":"`+strings.Repeat("ä", 100)+`","track_points":[`+goodPoint+`]}`)
	require.NoError(t, err)
	assert.Equal(t, 1, decoded.Points.Len(), "100 characters are not too long")
}

func TestLane_DecodeLetsTheLastOfTwoMembersCount(t *testing.T) {
	decoded, err := decode(t, "live", `{"flight_id":"a","track_points":[{"lat":1}],"flight_id":"b","track_points":[
		{"datetime":"2026-07-14T11:00:00Z","lat":1,"lat":2,"lon":3,"speed":4,"speed":null}]}`)
	require.NoError(t, err)
	require.Empty(t, decoded.Rejected)
	assert.JSONEq(t, `{"flight_id":"b","datetime":"2026-07-14T11:00:00Z","lat":2,"lon":3,"received_at":"2026-07-14T12:00:00Z"}`,
		string(decoded.Points.AppendPoint(nil, 0)))
}

func TestLane_DecodeNamesTheFirstHundredRejections(t *testing.T) {
	decoded, err := decode(t, "live", liveBody(strings.Split(strings.Repeat("1,", 249)+"1", ",")...))
	require.NoError(t, err)
	assert.Len(t, decoded.Rejected, 100)
	assert.Equal(t, 250, decoded.RejectedTotal)
}

func TestLane_DecodeScoringReadsEveryMember(t *testing.T) {
	const id = "0192fd2c-7b6a-7c3e-8a51-2f6f0f4c9f10"
	decoded, err := decode(t, "scoring", `{"flight_uuid":"`+strings.ToUpper(id)+`","tracks":[{"date_time":"2026-07-14T11:00:00Z",
		"lat":1,"lon":2,"gps_alt":3,"time":"11:00:00","rounded_time":"11:00","validity":"A","pressure_alt":4,"LAD":5,"LOD":6,
		"speed":7,"elevation":8,"altitude_diff":-9,"altitude_diff_smooth":10,"speed_smooth":11,"takeoff_condition":false,"in_flight":true}]}`)
	require.NoError(t, err)
	require.Empty(t, decoded.Rejected)
	assert.Equal(t, lane.ResponseMember{Name: "flight_uuid", Value: id}, decoded.Response)
	assert.JSONEq(t, `{"flight_uuid":"`+id+`","date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3,
		"time":"11:00:00","rounded_time":"11:00","validity":"A","pressure_alt":4,"lad":5,"lod":6,"speed":7,"elevation":8,
		"altitude_diff":-9,"altitude_diff_smooth":10,"speed_smooth":11,"takeoff_condition":false,"in_flight":true,
		"received_at":"2026-07-14T12:00:00Z"}`, string(decoded.Points.AppendPoint(nil, 0)))
}

func TestLane_DecodeScoringMakesAUUIDWhereNoneIsGiven(t *testing.T) {
	const body = `{"tracks":[{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3},{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2}]}`
	first, err := decode(t, "scoring", body)
	require.NoError(t, err)
	second, err := decode(t, "scoring", body)
	require.NoError(t, err)
	assert.Len(t, first.Response.Value, 36)
	assert.Equal(t, first.Response, second.Response, "the same body is the same flight")
	spaced, err := decode(t, "scoring", strings.NewReplacer(",", " ,\n").Replace(body))
	require.NoError(t, err)
	assert.Equal(t, first.Response, spaced.Response, "white space makes no difference")
	other, err := decode(t, "scoring", strings.Replace(body, `"lat":1`, `"lat":1.5`, 1))
	require.NoError(t, err)
	assert.NotEqual(t, first.Response, other.Response)
	assert.Equal(t, uuid.Version(5), uuid.MustParse(first.Response.Value).Version())
	assert.Equal(t, []lane.Rejection{{Index: 1, Field: "gps_alt", Error: "is missing"}}, first.Rejected)

	_, err = decode(t, "scoring", `{"flight_uuid":"nonsense","tracks":[]}`)
	require.ErrorContains(t, err, `"flight_uuid" must be a UUID.`)
}

func TestLane_DecodeFlymasterReadsLineByLine(t *testing.T) {
	decoded, err := decode(t, "flymaster", "12345, key\r\n"+
		"1783958400, 1783958399, 46.5, 7.25, 1234, 11.5, 270\r\n"+
		"1783958400,1783958399,nan,7.25,1234,11.5,270\r\n"+
		"1783958400,1783958399,46.5,7.25,inf,11.5,270\r\n"+
		"\r\n"+
		"1783958400,yesterday,46.5,7.25,1,1,270\r\n"+
		"1783958400,1783958399,46.5,7.25\r\n"+
		"1783958400,1783958399,46.5,7.25,1234,11.5,361\r\n"+
		"EOF\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, 1, decoded.Points.Len())
	assert.JSONEq(t, `{"device_id":12345,"date_time":"2026-07-13T15:59:59Z","lat":46.5,"lon":7.25,"gps_alt":1234,"speed":11.5,
		"heading":270,"uploaded_at":"2026-07-13T16:00:00Z","received_at":"2026-07-14T12:00:00Z"}`, string(decoded.Points.AppendPoint(nil, 0)))
	assert.Equal(t, []lane.Rejection{
		{Index: 3, Field: "lat", Error: "must be between -90 and 90"},
		{Index: 4, Field: "gps_alt", Error: "must be a finite number"},
		{Index: 6, Field: "date_time", Error: "must be a number"},
		{Index: 7, Field: "", Error: "must have 7 fields, not 4"},
		{Index: 8, Field: "heading", Error: "must be between 0 and 360"},
	}, decoded.Rejected)
}

func TestLane_DecodeFlymasterSaysWhatIsMalformed(t *testing.T) {
	for body, want := range map[string]string{
		"":                            "The body is empty",
		"12345\nEOF\n":                "The first line must be device_serial,sha256key.",
		"x,key\nEOF\n":                "The first line must begin with the device's serial number.",
		"-5,key\nEOF\n":               "The first line must begin with the device's serial number.",
		"12345,key\n":                 "The last line, EOF, is missing",
		"1,k\nEOF\nmore":              "There is more after the line EOF",
		"99999999999999999999,k\nEOF": "The first line must begin with the device's serial number.",
	} {
		t.Run(body, func(t *testing.T) {
			_, err := decode(t, "flymaster", body)
			var malformed *lane.MalformedError
			require.ErrorAs(t, err, &malformed)
			assert.Contains(t, malformed.Reason, want)
		})
	}
}

func TestFlymasterKey_IsCheckedWhenThereIsASecret(t *testing.T) {
	sum := sha256.Sum256([]byte("12345" + "secret"))
	l := laneNamed(t, "flymaster", lane.Options{FlymasterSecret: "secret"})
	for key, allowed := range map[string]bool{
		hex.EncodeToString(sum[:]):                  true,
		strings.ToUpper(hex.EncodeToString(sum[:])): true,
		"": false, "0": false, strings.Repeat("0", 64): false,
	} {
		t.Run(key, func(t *testing.T) {
			for _, serial := range []string{"12345", "0012345"} { // a number in any case
				_, err := l.Decode([]byte(serial+", "+key+"\nEOF\n"), lane.DecodeOptions{Now: now})
				if allowed {
					assert.NoError(t, err)
					continue
				}
				var forbidden *lane.ForbiddenError
				assert.ErrorAs(t, err, &forbidden)
			}
		})
	}
}

func TestLane_DecodeReadsCoordinatesToTheLastBit(t *testing.T) {
	for _, text := range []string{"46.12345678901234567", "0.1", "1e-7", "89.99999999999999", "4.9406564584124654e-324", "-0", "12.345678E0"} {
		t.Run(text, func(t *testing.T) {
			decoded, err := decode(t, "live", liveBody(`{"datetime":"2026-07-14T11:00:00Z","lon":0,"lat":`+text+`}`))
			require.NoError(t, err)
			var want float64
			_, err = fmt.Sscan(text, &want)
			require.NoError(t, err)
			assert.Equal(t, math.Float64bits(want), math.Float64bits(decoded.Points.Rows[0].Lat))
		})
	}
}
