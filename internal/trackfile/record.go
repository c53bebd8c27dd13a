package trackfile

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"tracklane/internal/lane"
)

// column is what a value of a record means, whose name apps have many words for.
type column uint8

const (
	columnTime   column = iota // RFC 3339, or Unix time
	columnMillis               // Unix time in milliseconds
	columnLat
	columnLon
	columnElevation
	columnPressure
	columnSpeed
	columnHeading
	columns

	noColumn = columns
)

// columnOf returns what a name stands for. GPSLogger's are among them, and what
// GPX, OsmAnd and our own JSON call the same things. A unit in brackets that is
// another than ours makes a column unknown.
func columnOf(name string) column {
	name = strings.ToLower(strings.TrimSpace(name))
	if at := strings.IndexAny(name, "([{"); at > 0 {
		switch strings.Trim(name[at:], "()[]{} ") {
		case "m", "m/s", "deg", "degrees", "°", "utc", "m asl":
		default:
			return noColumn
		}
		name = name[:at]
	}
	switch strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(name) {
	case "datetime", "time", "timestamp", "utc", "timeutc", "utctime", "datetimeutc", "isotime", "gpstime", "fixtime", "date", "ts", "tst", "unixtime", "epoch":
		return columnTime
	case "timestampms", "timems", "epochms", "unixtimems":
		return columnMillis
	case "lat", "latitude":
		return columnLat
	case "lon", "lng", "long", "longitude":
		return columnLon
	case "elevation", "ele", "alt", "altitude", "gpsalt", "gpsaltitude", "altitudegps", "gnssalt", "gnssaltitude", "height":
		return columnElevation
	case "barometricaltitude", "baroalt", "baroaltitude", "pressurealt", "pressurealtitude", "altitudebaro":
		return columnPressure
	case "speed", "spd", "groundspeed", "velocity":
		return columnSpeed
	case "heading", "bearing", "course", "dir", "direction", "cog":
		return columnHeading
	}
	return noColumn
}

// record is the values of one point by their columns, as text; empty ones are
// missing.
type record [columns]string

// set sets a column's value unless it has one: of several names for the same thing
// the first counts.
func (r *record) set(c column, value string) {
	if c < columns && r[c] == "" {
		r[c] = strings.TrimSpace(value)
	}
}

// fix returns the record's fix, or the field at fault and the reason.
func (r *record) fix() (fix lane.Fix, field, reason string) {
	fix = lane.NoFix()
	if fix.Time, reason = r.time(); reason != "" {
		return fix, timeField, reason
	}
	for _, f := range []struct {
		name     string
		column   column
		value    *float64
		required bool
	}{
		{"lat", columnLat, &fix.Lat, true},
		{"lon", columnLon, &fix.Lon, true},
		{"elevation", columnElevation, &fix.Elevation, false},
		{"barometric_altitude", columnPressure, &fix.BarometricAltitude, false},
		{"speed", columnSpeed, &fix.Speed, false},
		{"heading", columnHeading, &fix.Heading, false},
	} {
		text := r[f.column]
		if text == "" {
			if f.required {
				return fix, f.name, missing
			}
			continue
		}
		number, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(number, 0) || f.required && math.IsNaN(number) {
			return fix, f.name, "must be a number"
		}
		if number < 0 && (f.column == columnSpeed || f.column == columnHeading) {
			number = math.NaN() // apps write -1 for what they do not know
		}
		*f.value = number
	}
	return fix, "", ""
}

func (r *record) time() (microseconds int64, reason string) {
	text := r[columnTime]
	if text == "" {
		if text = r[columnMillis]; text == "" {
			return 0, missing
		}
		return parseUnix(text, 1000)
	}
	if !strings.ContainsAny(text, "-:") {
		return parseUnix(text, 0)
	}
	return parseTime(text, "")
}

// parseUnix reads a Unix time. microseconds is how many its unit has, or 0 to tell
// by its size: seconds have ten digits from 2001 to 2286, milliseconds thirteen,
// microseconds sixteen.
func parseUnix(text string, microseconds int64) (int64, string) {
	const reason = "must be an RFC 3339 time or a Unix time"
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 0 || strings.Trim(fraction, "0123456789") != "" {
		return 0, reason
	}
	if microseconds == 0 {
		switch {
		case n < 1e11:
			microseconds = 1_000_000
		case n < 1e14:
			microseconds = 1000
		default:
			microseconds = 1
		}
	}
	if n >= math.MaxInt64/microseconds {
		return 0, reason
	}
	n *= microseconds
	for i := 0; i < len(fraction) && microseconds >= 10; i++ {
		microseconds /= 10
		n += int64(fraction[i]-'0') * microseconds
	}
	return n, ""
}

// parseTime reads a time as XML Schema, ISO 8601 and various apps write it, and
// returns Unix microseconds or why it cannot. zone is that of a time without one,
// where the format says; empty if it does not.
func parseTime(text, zone string) (microseconds int64, reason string) {
	const day, seconds = len("2006-01-02"), len("2006-01-02T15:04:05")
	t := bytes.TrimSpace([]byte(text))
	if len(t) > day && (t[day] == ' ' || t[day] == 't') {
		t[day] = 'T'
	}
	if len(t) >= seconds {
		rest := t[seconds:]
		rest = bytes.TrimLeft(rest, ".0123456789")
		at := len(t) - len(rest)
		switch {
		case len(rest) == 0:
			t = append(t, zone...)
		case string(rest) == "z" || string(rest) == " UTC" || string(rest) == " Z":
			t = append(t[:at], 'Z')
		case len(rest) == len("+02"):
			t = append(t, ":00"...)
		case len(rest) == len("+0200") && rest[0] != ' ':
			t = append(append(append(t[:at:at], rest[:3]...), ':'), rest[3:]...)
		}
	}
	return lane.ParseTimestamp(t)
}
