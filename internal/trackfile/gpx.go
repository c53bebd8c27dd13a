package trackfile

import (
	"encoding/xml"
	"errors"
	"io"
)

// gpxFormat is GPX 1.0 and 1.1 (https://www.topografix.com/gpx.asp), in any namespace
// or none: the points of its tracks. A time without a zone is UTC, as the schema says.
// Waypoints and routes were not flown.
func gpxFormat() format {
	root := rootPattern("gpx")
	return format{
		name: "GPX", extensions: []string{".gpx"},
		mediaTypes: []string{"application/gpx+xml", "application/gpx"},
		matches:    func(prefix []byte) bool { return isXML(prefix) && root.Match(prefix) },
		read:       readGPX,
	}
}

func isXML(prefix []byte) bool {
	for _, c := range prefix {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '<'
		}
	}
	return false
}

func readGPX(f *File) error {
	r := newXMLReader(f.source)
	index := 0
	var point record
	var at string // the point's time
	for {
		token, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			wanted, column := r.inside("trkpt"), noColumn
			switch t.Name.Local {
			case "trkpt":
				point, at = record{}, ""
				point.set(columnLat, attribute(t, "lat"))
				point.set(columnLon, attribute(t, "lon"))
			case "ele":
				column = columnElevation
			case "speed":
				column = columnSpeed
			case "course":
				column = columnHeading
			}
			switch {
			case wanted && column != noColumn:
				var text string
				text, err = r.text()
				point.set(column, text)
			case wanted && t.Name.Local == "time":
				at, err = r.text()
			}
		case xml.EndElement:
			if t.Name.Local == "trkpt" {
				if err = f.timed(index, &point, at, "Z"); err == nil {
					index++
				}
			}
		}
		if err == nil {
			err = r.skipText()
		}
		if err != nil {
			return err
		}
	}
}

// timed hands over the fix of a record whose time is apart, or why there is none.
func (f *File) timed(index int, r *record, at, zone string) error {
	if at == "" {
		f.reject(index, timeField, missing)
		return nil
	}
	microseconds, reason := parseTime(at, zone)
	if reason != "" {
		f.reject(index, timeField, reason)
		return nil
	}
	r[columnTime] = "0"
	fix, field, reason := r.fix()
	if reason != "" {
		f.reject(index, field, reason)
		return nil
	}
	fix.Time = microseconds
	return f.emit(index, fix)
}
