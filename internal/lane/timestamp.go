package lane

import (
	"bytes"
	"time"
)

// ParseTimestamp reads an RFC 3339 time with its zone and returns it in Unix
// microseconds, or why it cannot; further digits of the fraction are cut off. A leap
// second, 23:59:60 UTC, is the first second of the next day, as it is to PostgreSQL.
func ParseTimestamp(text []byte) (microseconds int64, reason string) {
	const noZone = len("2006-01-02T15:04:05")
	if len(text) < noZone {
		return 0, "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"
	}
	leap := false
	var scratch [64]byte
	if text[17] == '6' && text[18] == '0' && len(text) <= len(scratch) {
		leap = true
		text = append(scratch[:0], text...)
		text[17], text[18] = '5', '9'
	}
	var at time.Time
	err := at.UnmarshalText(text)
	switch {
	case err != nil && hasNoZone(text):
		return 0, "must have a zone: end it with Z or an offset such as +02:00"
	case err != nil || !isStrict(text):
		return 0, "must be an RFC 3339 time such as 2026-07-14T12:30:05.25Z"
	}
	if leap {
		at = at.Add(time.Second)
		if at.Unix()%86400 != 0 {
			return 0, "must not have 60 seconds except in a leap second, at 23:59:60 UTC"
		}
	}
	return at.UnixMicro(), ""
}

// isStrict reports whether a time that package time accepts is one of RFC 3339. The
// package accepts an hour of one digit, a decimal comma, and offsets of a day.
func isStrict(text []byte) bool {
	const hour, fraction, offset = len("2006-01-02T"), len("2006-01-02T15:04:05"), len("+07:00")
	if text[hour+2] != ':' || text[fraction] == ',' {
		return false
	}
	zone := text[len(text)-offset:]
	return text[len(text)-1] == 'Z' || string(zone[1:3]) < "24" && string(zone[4:]) < "60"
}

// hasNoZone reports whether text is an RFC 3339 time that lacks only its zone.
func hasNoZone(text []byte) bool {
	var at time.Time
	return at.UnmarshalText(append(bytes.Clone(text), 'Z')) == nil
}
