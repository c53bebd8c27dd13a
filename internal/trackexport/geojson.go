package trackexport

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
)

// writeGeoJSON writes a Feature whose geometry is a LineString (RFC 7946), with the
// times in properties.coordTimes, as togeojson names them. Of a single fix, which
// makes no line, it is a Point; of none, null.
//
// The times come behind the coordinates, so they are kept meanwhile: as differences,
// in two to four bytes a fix.
func writeGeoJSON(w *bufio.Writer, flight Flight, fixes Fixes) error {
	var times []byte
	var last int64
	count, first := 0, ""
	w.WriteString(`{"type":"Feature","geometry":`)
	for fix, err := range fixes {
		if err != nil {
			return err
		}
		position := "[" + number(fix.Lon) + "," + number(fix.Lat)
		if height := altitude(fix); !math.IsNaN(height) {
			position += "," + number(height)
		}
		position += "]"
		switch count {
		case 0:
			first = position
		case 1:
			w.WriteString(`{"type":"LineString","coordinates":[` + first + "," + position)
		default:
			w.WriteString("," + position)
		}
		times = binary.AppendVarint(times, fix.Time-last)
		last = fix.Time
		count++
	}
	switch count {
	case 0:
		w.WriteString("null")
	case 1:
		w.WriteString(`{"type":"Point","coordinates":` + first + "}")
	default:
		w.WriteString("]}")
	}
	return writeProperties(w, flight, times)
}

func writeProperties(w *bufio.Writer, flight Flight, times []byte) error {
	w.WriteString(`,"properties":{`)
	for _, p := range []struct{ name, value string }{
		{"id", flight.ID}, {"lane", flight.Lane}, {"pilot_id", flight.Pilot}, {"race_id", flight.Race}, {"device_id", flight.Device},
	} {
		text := []byte("null")
		if p.value != "" {
			var err error
			if text, err = json.Marshal(p.value); err != nil {
				return err
			}
		}
		w.WriteString(`"` + p.name + `":` + string(text) + ",")
	}
	w.WriteString(`"coordTimes":[`)
	var at int64
	for separator := ""; len(times) > 0; separator = "," {
		step, n := binary.Varint(times)
		at, times = at+step, times[n:]
		w.WriteString(separator + `"` + rfc3339(at) + `"`)
	}
	_, err := io.WriteString(w, "]}}\n")
	return err
}
