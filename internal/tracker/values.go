package tracker

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"tracklane/internal/lane"
)

// unit is what a speed is given in, as how many metres an hour it is.
type unit float64

const (
	metresPerSecond   unit = 3600
	knots             unit = 1852
	kilometresPerHour unit = 1000
)

// speed returns a speed in m/s. A negative one, which apps send for an unknown one,
// is NaN.
func (u unit) speed(value float64) float64 {
	switch {
	case value < 0:
		return math.NaN()
	case u == metresPerSecond:
		return value
	}
	return value * float64(u) / 3600
}

// heading returns a heading; a negative one, which apps send for an unknown one, is
// NaN.
func heading(degrees float64) float64 {
	if degrees < 0 {
		return math.NaN()
	}
	return degrees
}

// microseconds turns Unix seconds, or milliseconds where the number would be a time
// after 2038 otherwise, into microseconds; whole numbers exactly.
func microseconds(text string) (at int64, ok bool) {
	const lastSecond = math.MaxInt32
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		switch {
		case whole < lastSecond && whole > -lastSecond:
			return whole * 1_000_000, true
		case whole < math.MaxInt64/1000 && whole > 0:
			return whole * 1000, true
		}
		return 0, false
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(number) < lastSecond*1e6) {
		return 0, false
	}
	if number >= lastSecond {
		number /= 1000
	}
	return int64(math.Floor(number * 1e6)), true
}

// parseTime reads a time as apps send it: Unix seconds or milliseconds, or ISO 8601
// with a zone, which may lack its colon, and whose plus a query may have turned into
// a space. A time without a zone is refused: whoever guessed one would be wrong by
// hours for somebody.
func parseTime(text string) (at int64, reason string) {
	if text == "" {
		return 0, "is missing"
	}
	if at, ok := microseconds(text); ok {
		return at, ""
	}
	const date, minute, seconds = len("2006-01-02"), len("2006-01-02T15:04"), len("2006-01-02T15:04:05")
	if len(text) < seconds {
		return 0, "must be Unix seconds, or a time such as 2026-07-14T12:30:05Z"
	}
	b := []byte(text)
	if b[date] == ' ' {
		b[date] = 'T'
	}
	if i := len(b) - len(" 02:00"); i >= seconds && b[i] == ' ' {
		b[i] = '+'
	}
	if i := len(b) - len(" 0200"); i >= seconds && b[i] == ' ' {
		b[i] = '+'
	}
	if i := len(b) - len("+0200"); i > minute && (b[i] == '+' || b[i] == '-') {
		b = append(b[:i+3:i+3], ':', b[i+3], b[i+4])
	}
	return lane.ParseTimestamp(b)
}

// list reads a JSON array, or one value that is none as an array of it.
func list(body []byte) ([]json.RawMessage, error) {
	if !json.Valid(body) {
		return nil, &lane.MalformedError{Reason: "The body must be JSON."}
	}
	if body = bytes.TrimSpace(body); body[0] != '[' {
		return []json.RawMessage{body}, nil
	}
	var all []json.RawMessage
	elements := json.NewDecoder(bytes.NewReader(body))
	_, _ = elements.Token() // the bracket
	for elements.More() {
		if err := checkCount(len(all) + 1); err != nil {
			return nil, err // before the others take memory
		}
		var element json.RawMessage
		if err := elements.Decode(&element); err != nil {
			return nil, &lane.MalformedError{Reason: "The body must be JSON."}
		}
		all = append(all, element)
	}
	return all, nil
}

func checkCount(positions int) error {
	if positions > maxPositions {
		return &lane.TooLargeError{Reason: "A request must not have more than " + strconv.Itoa(maxPositions) + " positions; send them in several."}
	}
	return nil
}

// number is a number in JSON that apps also write as text, or null; what is missing
// is NaN.
type number float64

// UnmarshalJSON implements json.Unmarshaler. It never fails, so that one strange
// member makes nothing else of a message unreadable: what is no number is NaN.
func (n *number) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseFloat(scalar(text), 64)
	if err != nil && !math.IsInf(value, 0) {
		value = math.NaN()
	}
	*n = number(value)
	return nil
}

// text is a text in JSON that apps also write as a number.
type text string

// UnmarshalJSON implements json.Unmarshaler. It never fails; what is neither a text
// nor a number is empty.
func (t *text) UnmarshalJSON(raw []byte) error {
	*t = text(scalar(raw))
	return nil
}

// scalar is the text of a JSON text, number or truth value, and empty for all else.
func scalar(raw []byte) string {
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return strings.TrimSpace(s)
	case '{', '[', 'n':
		return ""
	}
	return string(raw)
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			return text
		}
	}
	return ""
}

func orNaN(n *number) float64 {
	if n == nil {
		return math.NaN()
	}
	return float64(*n)
}

// reject says why a position cannot be used; the first reason stays.
func (p *Position) reject(field, reason string) {
	if p.Reason == "" {
		p.Field, p.Reason = field, reason
	}
}

func (p *Position) setTime(field, text string) {
	at, reason := parseTime(text)
	if reason != "" {
		p.reject(field, reason)
	}
	p.Fix.Time = at
}

func (p *Position) setPlace(lat, lon float64) {
	switch {
	case math.IsNaN(lat):
		p.reject("lat", "must be a number")
	case math.IsNaN(lon):
		p.reject("lon", "must be a number")
	}
	p.Fix.Lat, p.Fix.Lon = lat, lon
}
