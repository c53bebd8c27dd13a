package lane

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// AppendJSON appends a point as a JSON object whose members are the table's
// columns; values that the point does not have are left out. Floats are
// written with as many digits as it takes to read the same float again.
func (p *Points) AppendJSON(buffer []byte, row int) []byte {
	l, r := p.Lane, &p.Rows[row]
	track := &p.Tracks[r.Track]
	buffer = append(buffer, '{')
	for i, c := range l.Track {
		if !track.Fields[i].Null {
			buffer = appendName(buffer, c.Name)
			buffer = appendField(buffer, c.Kind, track.Fields[i].Value)
		}
	}
	buffer = appendTime(appendName(buffer, l.Time), r.Time)
	buffer = appendFloat(appendName(buffer, "lat"), r.Lat)
	buffer = appendFloat(appendName(buffer, "lon"), r.Lon)
	for i, c := range l.Values {
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
