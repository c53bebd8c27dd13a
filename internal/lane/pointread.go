package lane

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// ReadJSON reads a point that AppendJSON wrote: one point with its track, bit
// for bit. The error names the member that is wrong.
func ReadJSON(l *Lane, text []byte) (*Points, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("read a point of the lane %s: %w", l.Name, err)
	}
	r := pointReader{members: members}
	track := Track{Fields: make([]Field, len(l.Track))}
	for i, c := range l.Track {
		track.Fields[i] = r.field(c)
	}
	track.ReceivedAt, _ = r.time("received_at")
	points := NewPoints(l, 1)
	at, _ := r.time(l.Time)
	lat, _ := r.float("lat")
	lon, _ := r.float("lon")
	row := points.Add(points.AddTrack(track), at, lat, lon)
	for i, c := range l.Values {
		switch c.Kind {
		case Text:
			if text, ok := r.text(c.Name); ok {
				points.SetText(row, i, text)
			}
		case Bool:
			var value bool
			if r.decode(c.Name, &value) {
				points.SetBool(row, i, value)
			}
		case Timestamp:
			if at, ok := r.time(c.Name); ok {
				points.SetBits(row, i, uint64(at))
			}
		default:
			if value, ok := r.float(c.Name); ok {
				points.SetFloat(row, i, value)
			}
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("read a point of the lane %s: %w", l.Name, r.err)
	}
	return points, nil
}

// pointReader reads members; the first error stays.
type pointReader struct {
	members map[string]json.RawMessage
	err     error
}

func (r *pointReader) fail(name string, err error) {
	r.err = errors.Join(r.err, fmt.Errorf("the member %q: %w", name, err))
}

// decode returns false when there is no such member.
func (r *pointReader) decode(name string, value any) bool {
	text, ok := r.members[name]
	if !ok {
		return false
	}
	if err := json.Unmarshal(text, value); err != nil {
		r.fail(name, err)
	}
	return true
}

func (r *pointReader) text(name string) (text string, ok bool) {
	ok = r.decode(name, &text)
	return text, ok
}

func (r *pointReader) time(name string) (microseconds int64, ok bool) {
	var at time.Time
	ok = r.decode(name, &at)
	return at.UnixMicro(), ok
}

// float reads a number, or what appendFloat writes for one that JSON lacks.
func (r *pointReader) float(name string) (value float64, ok bool) {
	raw, ok := r.members[name]
	if !ok {
		return 0, false
	}
	text := string(raw)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(value, 0) {
		r.fail(name, err)
	}
	return value, true
}

func (r *pointReader) field(c Column) Field {
	if _, ok := r.members[c.Name]; !ok {
		return Field{Null: true}
	}
	switch c.Kind {
	case BigInt:
		var n int64
		r.decode(c.Name, &n)
		return BigIntField(n)
	case UUID:
		var id uuid.UUID
		r.decode(c.Name, &id)
		return Field{Value: string(id[:])}
	}
	text, _ := r.text(c.Name)
	return TextField(text)
}
