package load

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"tracklane/internal/simulator/flight"
)

// format is how a lane's requests are written. The body of a request is the
// start, which names the flight, the fixes, and the end.
type format struct {
	contentType string

	// appendIdentity writes what a flight is called in the lane's table. Run
	// is random, so flights of two runs never share a name.
	appendIdentity func(dst []byte, run, flightNumber uint64) []byte

	appendStart func(dst, identity []byte, secret string) []byte
	appendFix   func(dst []byte, fix flight.Fix) []byte
	separator   string // between fixes
	end         string
}

// formats returns the format of each lane by its name.
func formats() map[string]format {
	track := format{
		contentType: "application/json",
		appendIdentity: func(dst []byte, run, flightNumber uint64) []byte {
			return fmt.Appendf(dst, "load-%012x-%08d", run>>16, flightNumber)
		},
		appendStart: func(dst, identity []byte, _ string) []byte {
			dst = append(append(dst, `{"flight_id":"`...), identity...)
			return append(dst, `","track_points":[`...)
		},
		appendFix: appendTrackPoint,
		separator: ",",
		end:       "]}",
	}
	return map[string]format{
		"live":   track,
		"upload": track,
		"scoring": {
			contentType: "application/json",
			appendIdentity: func(dst []byte, run, flightNumber uint64) []byte {
				return fmt.Appendf(dst, "%08x-%04x-4%03x-8%03x-%012x",
					run>>32, run>>16&0xffff, run>>4&0xfff, run&0xf, flightNumber)
			},
			appendStart: func(dst, identity []byte, _ string) []byte {
				dst = append(append(dst, `{"flight_uuid":"`...), identity...)
				return append(dst, `","tracks":[`...)
			},
			appendFix: appendScoringTrack,
			separator: ",",
			end:       "]}",
		},
		"flymaster": {
			contentType: "text/plain",
			appendIdentity: func(dst []byte, run, flightNumber uint64) []byte {
				// Eighteen digits: eight of the run, ten of the flight.
				device := (10_000_000+run%90_000_000)*10_000_000_000 + flightNumber
				return strconv.AppendUint(dst, device, 10)
			},
			appendStart: func(dst, identity []byte, secret string) []byte {
				dst = append(append(dst, identity...), secret...)
				key := sha256.Sum256(dst[len(dst)-len(identity)-len(secret):])
				dst = append(dst[:len(dst)-len(secret)], ',')
				return append(hex.AppendEncode(dst, key[:]), '\n')
			},
			appendFix: appendFlymasterLine,
			end:       "EOF\n",
		},
	}
}

func appendTrackPoint(dst []byte, fix flight.Fix) []byte {
	dst = append(dst, `{"datetime":"`...)
	dst = fix.Time.AppendFormat(dst, time.RFC3339)
	dst = appendNumber(append(dst, `","lat":`...), fix.Lat, coordinateDecimals)
	dst = appendNumber(append(dst, `,"lon":`...), fix.Lon, coordinateDecimals)
	dst = appendNumber(append(dst, `,"elevation":`...), fix.Elevation, 1)
	dst = appendNumber(append(dst, `,"speed":`...), fix.Speed, 2)
	dst = appendNumber(append(dst, `,"heading":`...), fix.Heading, 1)
	return append(dst, '}')
}

func appendScoringTrack(dst []byte, fix flight.Fix) []byte {
	dst = append(dst, `{"date_time":"`...)
	dst = fix.Time.AppendFormat(dst, time.RFC3339)
	dst = appendNumber(append(dst, `","lat":`...), fix.Lat, coordinateDecimals)
	dst = appendNumber(append(dst, `,"lon":`...), fix.Lon, coordinateDecimals)
	dst = appendNumber(append(dst, `,"gps_alt":`...), fix.Elevation, 1)
	dst = append(dst, `,"validity":"A"`...)
	dst = appendNumber(append(dst, `,"speed":`...), fix.Speed, 2)
	dst = appendNumber(append(dst, `,"elevation":`...), fix.Ground, 1)
	return append(dst, `,"in_flight":true}`...)
}

// uploadDelay is how long after a fix a Flymaster device sends it.
const uploadDelay = 10 * time.Second

func appendFlymasterLine(dst []byte, fix flight.Fix) []byte {
	dst = strconv.AppendInt(dst, fix.Time.Add(uploadDelay).Unix(), 10)
	dst = strconv.AppendInt(append(dst, ','), fix.Time.Unix(), 10)
	dst = appendNumber(append(dst, ','), fix.Lat, coordinateDecimals)
	dst = appendNumber(append(dst, ','), fix.Lon, coordinateDecimals)
	dst = appendNumber(append(dst, ','), fix.Elevation, 1)
	dst = appendNumber(append(dst, ','), fix.Speed, 2)
	dst = appendNumber(append(dst, ','), fix.Heading, 1)
	return append(dst, '\n')
}

// coordinateDecimals is a centimetre's precision.
const coordinateDecimals = 7

func appendNumber(dst []byte, number float64, decimals int) []byte {
	return strconv.AppendFloat(dst, number, 'f', decimals, 64)
}
