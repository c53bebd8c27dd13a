package lane

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// AppendPoint appends a point as a JSON object whose members are the table's
// columns; values that the point does not have are left out. Floats are
// written with as many digits as it takes to read the same float again.
func (p *Points) AppendPoint(buffer []byte, row int) []byte {
	l, r := p.Lane, &p.Rows[row]
	track := &p.Tracks[r.TrackIndex]
	buffer = append(buffer, '{')
	for i, c := range l.TrackColumns {
		if !track.Fields[i].Null {
			buffer = appendName(buffer, c.Name)
			buffer = appendField(buffer, c.Kind, track.Fields[i].Value)
		}
	}
	buffer = appendTime(appendName(buffer, l.TimeColumn), r.Time)
	buffer = appendFloat(appendName(buffer, "lat"), r.Lat)
	buffer = appendFloat(appendName(buffer, "lon"), r.Lon)
	for i, c := range l.ValueColumns {
		bits, ok := p.Bits(row, i)
		if !ok {
			continue
		}
		buffer = appendName(buffer, c.Name)
		switch c.Kind {
		case Text:
			buffer = appendString(buffer, p.texts[bits])
		case Bool:
			buffer = strconv.AppendBool(buffer, bits != 0)
		case Timestamp:
			buffer = appendTime(buffer, int64(bits))
		default:
			buffer = appendFloat(buffer, FloatOf(bits))
		}
	}
	buffer = appendTime(appendName(buffer, "received_at"), track.ReceivedAt)
	return append(buffer, '}')
}

func appendName(buffer []byte, name string) []byte {
	if buffer[len(buffer)-1] != '{' {
		buffer = append(buffer, ',')
	}
	buffer = append(buffer, '"')
	buffer = append(buffer, name...)
	return append(buffer, '"', ':')
}

func appendField(buffer []byte, kind Kind, value string) []byte {
	switch {
	case kind == BigInt && len(value) == 8:
		return strconv.AppendInt(buffer, int64(binary.BigEndian.Uint64([]byte(value))), 10)
	case kind == UUID && len(value) == 16:
		return appendString(buffer, uuid.UUID([]byte(value)).String())
	}
	return appendString(buffer, value)
}

func appendTime(buffer []byte, microseconds int64) []byte {
	buffer = append(buffer, '"')
	buffer = TimeOf(microseconds).AppendFormat(buffer, time.RFC3339Nano)
	return append(buffer, '"')
}

// appendFloat writes what JSON has no number for, NaN and the infinities, as a
// string.
func appendFloat(buffer []byte, value float64) []byte {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return appendString(buffer, strconv.FormatFloat(value, 'g', -1, 64))
	}
	return strconv.AppendFloat(buffer, value, 'g', -1, 64)
}

// appendString quotes text; what is not valid UTF-8 becomes U+FFFD, and so does
// NUL, which PostgreSQL's jsonb refuses.
func appendString(buffer []byte, text string) []byte {
	quoted, err := json.Marshal(strings.ReplaceAll(text, "\x00", "\uFFFD"))
	if err != nil { // a string always marshals
		return append(buffer, `""`...)
	}
	return append(buffer, quoted...)
}

// UnmarshalPoint reads a point that AppendPoint wrote: one point with its track, bit
// for bit. The error names each member that is wrong.
func UnmarshalPoint(l *Lane, text []byte) (*Points, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("read a point of the lane %s: %w", l.Name, err)
	}
	r := pointReader{members: members}
	track := Track{Fields: make([]Field, len(l.TrackColumns))}
	for i, c := range l.TrackColumns {
		track.Fields[i] = r.field(c)
	}
	track.ReceivedAt, _ = r.time("received_at")
	points := NewPoints(l, 1)
	at, _ := r.time(l.TimeColumn)
	lat, _ := r.float("lat")
	lon, _ := r.float("lon")
	row := points.Add(points.AddTrack(track), at, lat, lon)
	for i, c := range l.ValueColumns {
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
