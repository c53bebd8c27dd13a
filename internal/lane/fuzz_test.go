package lane_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// checkDecoded decodes a body and checks what holds of every body: the decoder
// accepts it or says why not, each point that was sent was accepted or rejected,
// and what was accepted reads the same from its JSON.
func checkDecoded(t *testing.T, l *lane.Lane, body []byte) (decoded lane.Decoded, accepted bool) {
	decoded, err := l.Decode(body, lane.DecodeOptions{Now: now, RequestID: "r"})
	if err != nil {
		var malformed *lane.MalformedError
		require.True(t, errors.As(err, &malformed), "%T: %v", err, err)
		require.NotEmpty(t, malformed.Reason)
		return decoded, false
	}
	require.LessOrEqual(t, len(decoded.Rejected), lane.MaxRejections)
	require.GreaterOrEqual(t, decoded.RejectedTotal, len(decoded.Rejected))
	for row := range decoded.Points.Rows {
		text := decoded.Points.AppendPoint(nil, row)
		require.True(t, json.Valid(text), "%s", text)
		again, err := lane.UnmarshalPoint(l, text)
		require.NoError(t, err)
		require.Equal(t, string(text), string(again.AppendPoint(nil, 0)))
		require.Equal(t, decoded.Points.Rows[row].LatBits(), again.Rows[0].LatBits())
		require.Equal(t, decoded.Points.Rows[row].LonBits(), again.Rows[0].LonBits())
		require.Equal(t, decoded.Points.Rows[row].Time, again.Rows[0].Time)
	}
	return decoded, true
}

// fuzzJSON compares a lane's decoder with encoding/json: both accept the same
// bodies as objects, and find the same number of points in them.
func fuzzJSON(f *testing.F, name, list string) {
	l := laneNamed(f, name, lane.Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		decoded, accepted := checkDecoded(t, l, body)
		var members map[string]json.RawMessage
		err := json.Unmarshal(body, &members)
		if !accepted {
			return
		}
		require.NoError(t, err, "the decoder accepts what is not JSON")
		var points []json.RawMessage
		require.NoError(t, json.Unmarshal(members[list], &points))
		require.Equal(t, len(points), decoded.Points.Len()+decoded.RejectedTotal)
	})
}

func FuzzDecodeFlight(f *testing.F) {
	f.Add([]byte(liveBody(goodPoint)))
	f.Add([]byte(liveBody(goodPoint, `{"datetime":"2016-12-31T23:59:60Z","lat":-90,"lon":180,"heading":0,"speed":1e-400}`, "7", "null")))
	f.Add([]byte(`{"track_points":[{"lat":90.0000001}],"flight_id":"a\u0000b","device_id":null,"track_points":[]}`))
	fuzzJSON(f, "live", "track_points")
}

func FuzzDecodeScoring(f *testing.F) {
	f.Add([]byte(`{"tracks":[{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3,"LAD":5,"validity":"A\ud800","in_flight":true}]}`))
	f.Add([]byte(`{"flight_uuid":"0192fd2c-7b6a-7c3e-8a51-2f6f0f4c9f10","tracks":[{"takeoff_condition":1}]}`))
	fuzzJSON(f, "scoring", "tracks")
}

func FuzzDecodeFlymaster(f *testing.F) {
	f.Add([]byte("12345, key\r\n1783958400, 1783958399, 46.5, 7.25, 1234, 11.5, 270\r\nEOF\r\n"))
	f.Add([]byte("1,k\n1783958400.5,1e9,nan,inf,0x1p-2,-0,1_0\n\nEOF"))
	l := laneNamed(f, "flymaster", lane.Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		decoded, accepted := checkDecoded(t, l, body)
		if !accepted {
			return
		}
		sent := -1 // the first line is the device's
		for line := range bytes.Lines(body) {
			line = bytes.TrimSpace(line)
			if string(line) == "EOF" {
				break
			}
			if len(line) > 0 || sent < 0 {
				sent++
			}
		}
		require.Equal(t, sent, decoded.Points.Len()+decoded.RejectedTotal)
	})
}
