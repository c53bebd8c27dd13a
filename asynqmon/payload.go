package asynqmon

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"tracklane/internal/lane"
	"tracklane/tasks"
)

// What a payload's description shows at the most.
const (
	maxFirstPoints = 10
	maxFlightNames = 5
	maxHexBytes    = 32
)

// formatter describes payloads in JSON.
//
// A description needs a pass over all points, some 30 ms for the largest
// payloads there are. They are read one at a time, so that lists of them take
// one core and one payload's memory, however many people look at them.
type formatter struct {
	lanes   map[string]*lane.Lane
	reading sync.Mutex
}

func newFormatter(lanes []*lane.Lane) *formatter {
	f := &formatter{lanes: make(map[string]*lane.Lane)}
	for _, l := range lanes {
		f.lanes[l.Name] = l
	}
	return f
}

// description is what an operator reads of a payload.
type description struct {
	Lane        string            `json:"lane"`
	Points      int               `json:"points"`
	Flights     flights           `json:"flights"`
	First       time.Time         `json:"first,omitzero"`
	Last        time.Time         `json:"last,omitzero"`
	ReceivedAt  time.Time         `json:"received_at,omitzero"` // the earliest
	FirstPoints []json.RawMessage `json:"first_points"`
}

// flights are the flights, or devices, that the points belong to.
type flights struct {
	Count int `json:"count"`

	// First names some of them, as they are in the table's first column.
	First []json.RawMessage `json:"first"`
}

// unreadable is what an operator reads of a payload that is not a lane's.
type unreadable struct {
	Unreadable string `json:"unreadable"` // why
	Bytes      int    `json:"bytes"`
	BeginsWith string `json:"begins_with"` // in hex
}

// FormatPayload implements asynqmon.PayloadFormatter.
func (f *formatter) FormatPayload(taskType string, payload []byte) string {
	text, err := f.describe(taskType, payload)
	if err == nil {
		return string(text)
	}
	text, err = json.Marshal(unreadable{
		Unreadable: err.Error(),
		Bytes:      len(payload),
		BeginsWith: hex.EncodeToString(payload[:min(len(payload), maxHexBytes)]),
	})
	if err != nil { // texts and a number always marshal
		return err.Error()
	}
	return string(text)
}

func (f *formatter) describe(taskType string, payload []byte) ([]byte, error) {
	name, _, _ := strings.Cut(taskType, ":")
	l := f.lanes[name]
	if l == nil {
		return nil, fmt.Errorf("the task type %q belongs to no lane", taskType)
	}
	f.reading.Lock()
	defer f.reading.Unlock()
	points, err := tasks.Decode(l, payload)
	if err != nil {
		return nil, err
	}
	d, err := describePoints(points)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("describe a payload of the lane %s: %w", name, err)
	}
	return text, nil
}

func describePoints(points *lane.Points) (*description, error) {
	d := &description{
		Lane: points.Lane.Name, Points: points.Len(),
		Flights:     flights{First: []json.RawMessage{}},
		FirstPoints: []json.RawMessage{},
	}
	if points.Len() == 0 {
		return d, nil
	}
	for row := range min(points.Len(), maxFirstPoints) {
		d.FirstPoints = append(d.FirstPoints, points.AppendPoint(nil, row))
	}

	first, last := points.Rows[0].Time, points.Rows[0].Time
	received := points.Tracks[points.Rows[0].TrackIndex].ReceivedAt
	seen := make(map[string]bool)
	track := int32(-1)
	for row := range points.Rows {
		r := &points.Rows[row]
		first, last = min(first, r.Time), max(last, r.Time)
		if r.TrackIndex == track {
			continue
		}
		track = r.TrackIndex
		received = min(received, points.Tracks[track].ReceivedAt)
		flight := points.Tracks[track].Fields[0].Value
		if seen[flight] {
			continue
		}
		seen[flight] = true
		if len(seen) <= maxFlightNames {
			name, err := flightName(points, row)
			if err != nil {
				return nil, err
			}
			d.Flights.First = append(d.Flights.First, name)
		}
	}
	d.Flights.Count = len(seen)
	d.First, d.Last, d.ReceivedAt = lane.TimeOf(first), lane.TimeOf(last), lane.TimeOf(received)
	return d, nil
}

// flightName returns the point's flight as it is in the point's own JSON.
func flightName(points *lane.Points, row int) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(points.AppendPoint(nil, row), &members); err != nil {
		return nil, fmt.Errorf("describe point %d: %w", row, err)
	}
	return members[points.Lane.TrackColumns[0].Name], nil
}
