package lane

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
)

// flymasterDecoder returns the decoder of what a Flymaster device posts: a
// first line with its serial number and key, a line a point, and EOF.
//
//	device_serial,sha256key
//	uploaded_at,date_time,lat,lon,gps_alt,speed,heading
//	EOF
//
// Both times are Unix seconds; the first is when the device began to track. The
// key is FlymasterKey's; without a secret it is not checked.
func flymasterDecoder(l *Lane, secret string) Decoder {
	return func(body []byte, options DecodeOptions) (Decoded, error) {
		lines := lineReader{rest: body}
		serial, err := readDevice(&lines, secret)
		if err != nil {
			return Decoded{}, err
		}
		capacity := min(bytes.Count(body, []byte("\n"))+1, len(body)/minFlymasterLine+1, MaxPoints)
		decoded := Decoded{Points: reusePoints(options.Reuse, l, capacity)}
		decoded.Points.AddTrack(Track{
			Fields:     []Field{BigIntField(serial)},
			ReceivedAt: options.Now.UnixMicro(),
			RequestID:  options.RequestID,
		})
		for line := range lines.number + 1 {
			decoded.gaps = append(decoded.gaps, int32(line))
		}
		for {
			line, ok := lines.next()
			if !ok {
				return Decoded{}, &MalformedError{"The last line, EOF, is missing: send the whole file again."}
			}
			if lines.number > MaxPoints {
				return Decoded{}, tooManyPoints()
			}
			if len(line) == 0 {
				decoded.gaps = append(decoded.gaps, int32(lines.number))
				continue
			}
			if string(line) == "EOF" {
				break
			}
			if field, reason := readFlymasterPoint(decoded.Points, line, options); reason != "" {
				decoded.Reject(lines.number, field, reason)
			}
		}
		for {
			line, ok := lines.next()
			if !ok {
				return decoded, nil
			}
			if len(line) > 0 {
				return Decoded{}, &MalformedError{"There is more after the line EOF; send one file a request."}
			}
		}
	}
}

// minFlymasterLine is the length of the shortest line of a point, in bytes.
const minFlymasterLine = len("784024135,784024130,1,2,3,4,5\n")

// lineReader gives out a body's lines without the white space around them.
type lineReader struct {
	rest   []byte
	number int // of the line given out last, from 1
}

func (r *lineReader) next() (line []byte, ok bool) {
	if len(r.rest) == 0 {
		return nil, false
	}
	line, r.rest, _ = bytes.Cut(r.rest, []byte("\n"))
	r.number++
	return bytes.TrimSpace(line), true
}

func readDevice(lines *lineReader, secret string) (serial int64, err error) {
	line, ok := lines.next()
	if !ok {
		return 0, &MalformedError{"The body is empty; send the device's file."}
	}
	text, key, ok := bytes.Cut(line, []byte(","))
	if !ok {
		return 0, &MalformedError{"The first line must be device_serial,sha256key."}
	}
	text, key = bytes.TrimSpace(text), bytes.TrimSpace(key)
	serial, err = strconv.ParseInt(string(text), 10, 64)
	if err != nil || serial < 0 {
		return 0, &MalformedError{"The first line must begin with the device's serial number."}
	}
	if secret != "" {
		expected := FlymasterKey(serial, secret)
		if subtle.ConstantTimeCompare([]byte(expected), bytes.ToLower(key)) != 1 {
			return 0, &ForbiddenError{"The key does not belong to this device."}
		}
	}
	return serial, nil
}

// FlymasterKey returns the key that a device with this serial number writes into
// the first line of its files: the hex SHA-256 of the serial, as a number without
// leading zeros, followed by the secret that device and server share.
func FlymasterKey(serial int64, secret string) string {
	sum := sha256.Sum256(append(strconv.AppendInt(nil, serial, 10), secret...))
	return hex.EncodeToString(sum[:])
}

// The columns of a Flymaster line that are not values of the lane.
const (
	lineUploadedAt = iota
	lineTime
	lineLat
	lineLon
	lineValues // gps_alt, speed, heading
	lineFields = lineValues + 3
)

// readFlymasterPoint adds the point that a line holds, or returns the field at
// fault and the reason.
func readFlymasterPoint(points *Points, line []byte, options DecodeOptions) (field, reason string) {
	l := points.Lane
	if n := bytes.Count(line, []byte(",")) + 1; n != lineFields {
		return "", fmt.Sprintf("must have %d fields, not %d", lineFields, n)
	}
	var numbers [lineFields]float64
	var times [2]int64 // microseconds
	for i := range numbers {
		var text []byte
		text, line, _ = bytes.Cut(line, []byte(","))
		text = bytes.TrimSpace(text)
		var err error
		numbers[i], err = strconv.ParseFloat(string(text), 64)
		if err != nil && !math.IsInf(numbers[i], 0) {
			return flymasterField(l, i), "must be a number"
		}
		if i <= lineTime {
			var ok bool
			if times[i], ok = unixMicroseconds(text, numbers[i]); !ok {
				return flymasterField(l, i), "must be a time in Unix seconds"
			}
			if reason := checkTime(times[i], options.Now); reason != "" {
				return flymasterField(l, i), reason
			}
		}
	}
	if reason := checkCoordinate(numbers[lineLat], latLimit); reason != "" {
		return "lat", reason
	}
	if reason := checkCoordinate(numbers[lineLon], lonLimit); reason != "" {
		return "lon", reason
	}
	for i := lineValues; i < lineFields; i++ {
		if reason := checkFloat(numbers[i], l.ValueColumns[i-lineValues].Max); reason != "" {
			return flymasterField(l, i), reason
		}
	}
	row := points.Add(0, times[lineTime], numbers[lineLat], numbers[lineLon])
	for i := lineValues; i < lineFields; i++ {
		points.SetFloat(row, i-lineValues, numbers[i])
	}
	points.SetBits(row, lineFields-lineValues, uint64(times[lineUploadedAt]))
	return "", ""
}

// flymasterField names the field at a place of a line.
func flymasterField(l *Lane, i int) string {
	switch i {
	case lineUploadedAt:
		return "uploaded_at"
	case lineTime:
		return l.TimeColumn
	case lineLat:
		return "lat"
	case lineLon:
		return "lon"
	}
	return l.ValueColumns[i-lineValues].Name
}

// unixMicroseconds turns Unix seconds into microseconds: whole seconds exactly,
// fractions to the microsecond.
func unixMicroseconds(text []byte, seconds float64) (microseconds int64, ok bool) {
	const limit = math.MaxInt64 / 1_000_000
	if whole, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return whole * 1_000_000, whole > -limit && whole < limit
	}
	return int64(math.Floor(seconds * 1e6)), seconds > -limit && seconds < limit
}
