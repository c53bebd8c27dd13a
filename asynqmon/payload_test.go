package asynqmon

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/tasks"
)

func TestFormatter_NamesTheFirstOfManyFlights(t *testing.T) {
	live := lane.All(lane.Options{})[0]
	var payload []byte
	for i := range 14 { // each of seven flights twice, the later times first
		points := lane.NewPoints(live, 1)
		fields := []lane.Field{lane.TextField(fmt.Sprint("flight-", i%7)), {Null: true}, {Null: true}, {Null: true}}
		points.AddTrack(lane.Track{Fields: fields, ReceivedAt: int64(100-i) * 1e6})
		points.Add(0, int64(100-i)*1e6, 1, 2)
		payload = tasks.Encode(payload, points)
	}
	var got struct {
		Points                   int
		First, Last, Received_at string
		Flights                  json.RawMessage
		First_points             []json.RawMessage
	}
	text := newFormatter(lane.All(lane.Options{})).FormatPayload("live:batch", payload)
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.Equal(t, 14, got.Points)
	assert.JSONEq(t, `{"count":7,"first":["flight-0","flight-1","flight-2","flight-3","flight-4"]}`, string(got.Flights))
	assert.Equal(t, "1970-01-01T00:01:27Z", got.First)
	assert.Equal(t, "1970-01-01T00:01:40Z", got.Last)
	assert.Equal(t, "1970-01-01T00:01:27Z", got.Received_at)
	assert.Len(t, got.First_points, 10)
}

func TestFormatter_SaysWhyAPayloadIsUnreadable(t *testing.T) {
	good := payloadOf(lane.All(lane.Options{})[0], 2)
	tests := map[string]struct {
		taskType string
		payload  []byte
		want     string
	}{
		"nothing in it": {"live:batch", nil,
			`{"lane":"live","points":0,"flights":{"count":0,"first":[]},"first_points":[]}`},
		"another program's": {"email:deliver", []byte("hello"),
			`{"unreadable":"the task type \"email:deliver\" belongs to no lane","bytes":5,"begins_with":"68656c6c6f"}`},
		"of an unknown version": {"live:points", []byte("\xffhello, a text of more than thirty-two bytes"),
			`{"unreadable":"decode a payload of the lane live: a block has an unknown version","bytes":44,
			"begins_with":"ff68656c6c6f2c20612074657874206f66206d6f7265207468616e2074686972"}`},
		"cut off": {"live:points", good[:3],
			`{"unreadable":"decode a payload of the lane live: it ends too early","bytes":3,"begins_with":"` +
				fmt.Sprintf("%x", good[:3]) + `"}`},
	}
	formatter := newFormatter(lane.All(lane.Options{}))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.JSONEq(t, test.want, formatter.FormatPayload(test.taskType, test.payload))
		})
	}
}

func TestFormatter_RefusesATimeThatJSONCannotHold(t *testing.T) {
	live := lane.All(lane.Options{})[0]
	points := lane.NewPoints(live, 1)
	points.AddTrack(lane.Track{Fields: make([]lane.Field, len(live.TrackColumns))})
	points.Add(0, 1<<60, 1, 2) // in the year 38,505
	text := newFormatter(lane.All(lane.Options{})).FormatPayload("live:batch", tasks.Encode(nil, points))
	require.True(t, json.Valid([]byte(text)), text)
	assert.Contains(t, text, `"unreadable":"describe a payload of the lane live`)
}

func payloadOf(l *lane.Lane, count int) []byte {
	points := lane.NewPoints(l, count)
	points.AddTrack(lane.Track{Fields: make([]lane.Field, len(l.TrackColumns))})
	for i := range count {
		row := points.Add(0, int64(i)*1e6, 46.5, 7.25)
		for value := range l.ValueColumns {
			points.SetBits(row, value, 0)
			if l.ValueColumns[value].Kind == lane.Text {
				points.SetText(row, value, "")
			}
		}
	}
	return tasks.Encode(nil, points)
}

// BenchmarkFormatPayload describes payloads of 30 MB, which is more than a
// task ever holds.
func BenchmarkFormatPayload(b *testing.B) {
	for _, l := range lane.All(lane.Options{}) {
		b.Run(l.Name, func(b *testing.B) {
			one := payloadOf(l, 1000)
			var payload []byte
			for len(payload) < 30_000_000 {
				payload = append(payload, one...)
			}
			formatter := newFormatter(lane.All(lane.Options{}))
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				formatter.FormatPayload(l.Name+":batch", payload)
			}
		})
	}
}
