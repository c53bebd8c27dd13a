package trackfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-faster/jx"

	"tracklane/internal/lane"
)

// jsonFormat is GeoJSON (RFC 7946) and what /upload accepts as JSON. Of GeoJSON it
// is the lines with a time for each place, under coordTimes, times or timestamps of
// the properties or of their coordinateProperties, and the points with a time.
func jsonFormat() format {
	return format{
		name: "GeoJSON", extensions: []string{".geojson", ".json"},
		mediaTypes: []string{"application/geo+json", "application/vnd.geo+json"},
		matches:    func(prefix []byte) bool { return firstByte(prefix) == '{' },
		held:       maxHeld * bytesHeld,
		read: func(f *File) error {
			if mark, _ := f.source.Peek(3); string(mark) == "\xef\xbb\xbf" {
				_, _ = f.source.Discard(len(mark)) // they are in the buffer
			}
			source := &jsonSource{r: f.source, left: maxValue}
			r := &jsonReader{file: f, json: jx.Decode(source, 4<<10), source: source}
			return r.readFile()
		},
	}
}

// ndjsonFormat is a JSON object a line: a point with the members that columnOf knows,
// or a Feature of GeoJSON.
func ndjsonFormat() format {
	return format{
		name: "NDJSON", extensions: []string{".ndjson", ".jsonl"},
		mediaTypes: []string{"application/x-ndjson", "application/ndjson", "application/jsonl"},
		matches: func(prefix []byte) bool {
			first, rest, more := bytes.Cut(bytes.TrimSpace(prefix), []byte("\n"))
			return more && firstByte(prefix) == '{' && firstByte(rest) == '{' && json.Valid(first)
		},
		read: readNDJSON,
	}
}

// IsGeoJSON reports whether JSON that begins so is GeoJSON or NDJSON, and not tracklane's
// own.
func IsGeoJSON(prefix []byte) bool {
	prefix = bytes.TrimPrefix(prefix, []byte("\xef\xbb\xbf"))
	if firstByte(prefix) != '{' || bytes.Contains(prefix, []byte(`"track_points"`)) {
		return false
	}
	if ndjsonFormat().matches(prefix) {
		return true
	}
	found := false
	// The error, of a prefix that breaks off, says nothing.
	_ = jx.DecodeBytes(prefix).ObjBytes(func(d *jx.Decoder, key []byte) error {
		switch kind := d.Next(); string(key) {
		case "features":
			found = found || kind == jx.Array
		case "geometry":
			found = found || kind == jx.Object || kind == jx.Null
		case "type":
			if kind == jx.String {
				value, err := d.Str()
				found = found || value == "Feature" || value == "FeatureCollection"
				return err
			}
		}
		return d.Skip()
	})
	return found
}

func firstByte(text []byte) byte {
	if text = bytes.TrimLeft(text, " \t\r\n"); len(text) > 0 {
		return text[0]
	}
	return 0
}

func readNDJSON(f *File) error {
	lines := newLineReader(f.source)
	return lines.each(func(line []byte, long bool) error {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		reason := ""
		if long {
			reason = tooLong
		} else if firstByte(line) != '{' || !json.Valid(line) {
			reason = "must be a JSON object"
		}
		if reason != "" {
			f.reject(lines.number, "", reason)
			return nil
		}
		r := &jsonReader{file: f, json: jx.DecodeBytes(line), source: &jsonSource{}, index: lines.number, line: true}
		return r.readFile()
	})
}

// maxValue is the largest name, text or number that is read, in bytes. What nobody
// wants is skipped and may be larger.
const maxValue = 256 << 10

// jsonReader reads a file or, for NDJSON, a line.
type jsonReader struct {
	file   *File
	json   *jx.Decoder
	source *jsonSource
	index  int  // of the next fix
	line   bool // the index is that of a line
	held   int  // values of the feature under way
}

// feature is a GeoJSON feature as far as it has been read.
type feature struct {
	geometry string    // its type
	places   []float64 // lon, lat and altitude or NaN of each
	times    []string
	hasTimes bool
	point    record // of the properties
}

func (r *jsonReader) readFile() error {
	var f feature
	err := r.object(func(key string) error {
		switch {
		case key == "features" && r.json.Next() == jx.Array:
			return r.json.Arr(func(*jx.Decoder) error { return r.readFeature() })
		case key == "track_points" && r.json.Next() == jx.Array:
			return malformed("The file is in tracklane's own JSON; post it as application/json.")
		case key == "flight_id" && r.json.Next() == jx.String && !r.line:
			id, err := r.json.Str()
			r.file.FlightID = id
			return err
		}
		return r.featureMember(key, &f)
	})
	if err == nil {
		err = r.emitFeature(&f)
	}
	if err == nil && !r.line {
		if r.json.Next() != jx.Invalid {
			return malformed("There is more behind the end of the JSON object; send one object, or NDJSON.")
		}
	}
	return r.problem(err)
}

// problem turns an error of the decoder into the file's.
func (r *jsonReader) problem(err error) error {
	var format *FormatError
	switch {
	case err == nil || r.file.stopped != nil || errors.As(err, &format) || r.source.err != nil && !errors.Is(r.source.err, errToken):
		if r.source.err != nil && format == nil && r.file.stopped == nil {
			return r.source.err
		}
		return err
	case errors.Is(r.source.err, errToken):
		return malformed("The file has a name or a value that is too long.")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errBreaksOff()
	}
	return malformed(fmt.Sprintf("The file is not valid JSON: %v.", err))
}

// object reads an object by its members; each of them has room of its own.
func (r *jsonReader) object(member func(key string) error) error {
	return r.json.ObjBytes(func(_ *jx.Decoder, key []byte) error {
		r.source.left = maxValue
		return member(string(key))
	})
}

// skip skips a value, however large it is.
func (r *jsonReader) skip() error {
	r.source.left = math.MaxInt
	err := r.json.Skip()
	r.source.left = maxValue
	return err
}

// readValue reads a member of a point.
func (r *jsonReader) readValue(key string, point *record) error {
	c := columnOf(key)
	if kind := r.json.Next(); c == noColumn || kind != jx.String && kind != jx.Number {
		return r.skip()
	}
	text, err := r.scalar()
	point.set(c, text)
	return err
}

// scalar reads a string or a number as text.
func (r *jsonReader) scalar() (string, error) {
	if r.json.Next() == jx.Number {
		number, err := r.json.Num()
		return string(number), err
	}
	return r.json.Str()
}

func (r *jsonReader) readFeature() error {
	r.source.left = maxValue
	if r.json.Next() != jx.Object {
		return r.skip()
	}
	var f feature
	r.held = 0
	if err := r.object(func(key string) error { return r.featureMember(key, &f) }); err != nil {
		return err
	}
	return r.emitFeature(&f)
}

// featureMember reads a member of a feature or, in a line, of a point.
func (r *jsonReader) featureMember(key string, f *feature) error {
	if r.json.Next() == jx.Object {
		switch key {
		case "geometry":
			return r.object(func(key string) error { return r.geometryMember(key, f) })
		case "properties":
			return r.object(func(key string) error { return r.property(key, f) })
		}
	}
	if r.line {
		return r.readValue(key, &f.point)
	}
	return r.skip()
}

func (r *jsonReader) geometryMember(key string, f *feature) (err error) {
	switch {
	case key == "type" && r.json.Next() == jx.String:
		f.geometry, err = r.json.Str()
		return err
	case key == "coordinates" && r.json.Next() == jx.Array:
		return r.coordinates(f, 0)
	}
	return r.skip()
}

// coordinates reads a place, or a list of places, or of lists.
func (r *jsonReader) coordinates(f *feature, depth int) error {
	var place []float64
	err := r.json.Arr(func(*jx.Decoder) error {
		r.source.left = maxValue
		switch kind := r.json.Next(); {
		case kind == jx.Array && depth < 3 && place == nil:
			return r.coordinates(f, depth+1)
		case kind == jx.Number && len(place) < 3:
			number, err := r.json.Float64()
			place = append(place, number)
			return err
		}
		return r.skip()
	})
	if err != nil || len(place) == 0 {
		return err
	}
	for len(place) < 3 {
		place = append(place, math.NaN())
	}
	f.places = append(f.places, place...)
	return r.hold()
}

// hold counts a value of a feature, which is in memory until its end.
func (r *jsonReader) hold() error {
	if r.held++; r.held > 2*maxHeld {
		return malformed(fmt.Sprintf("The file has a line of more than %d points; send it as NDJSON, CSV or GPX.", maxHeld))
	}
	return nil
}

func (r *jsonReader) property(key string, f *feature) error {
	switch kind := r.json.Next(); {
	case kind == jx.Array && (key == "coordTimes" || key == "times" || key == "timestamps"):
		f.hasTimes = true
		return r.times(f, 0)
	case kind == jx.Object && key == "coordinateProperties":
		return r.object(func(key string) error { return r.property(key, f) })
	}
	return r.readValue(key, &f.point)
}

// times reads a list of times, or of such lists.
func (r *jsonReader) times(f *feature, depth int) error {
	return r.json.Arr(func(*jx.Decoder) error {
		r.source.left = maxValue
		switch kind := r.json.Next(); {
		case kind == jx.Array && depth < 2:
			return r.times(f, depth+1)
		case kind == jx.String || kind == jx.Number:
			text, err := r.scalar()
			if len(text) > 64 {
				text = text[:64] // no time
			}
			f.times = append(f.times, text)
			if err != nil {
				return err
			}
		default:
			f.times = append(f.times, "")
			if err := r.skip(); err != nil {
				return err
			}
		}
		return r.hold()
	})
}

// emitFeature hands over what a feature holds, or the point that a line is.
func (r *jsonReader) emitFeature(f *feature) error {
	switch f.geometry {
	case "Point", "LineString", "MultiLineString", "MultiPoint":
	case "":
		if r.line {
			return r.file.record(r.index, &f.point)
		}
		return nil
	default:
		return nil // an area
	}
	for i := 0; i*3 < len(f.places); i++ {
		point := f.point
		if f.geometry != "Point" {
			point = record{}
			if i < len(f.times) {
				point[columnTime] = f.times[i]
			}
		}
		if err := r.emitPlace(&point, f.places[i*3:i*3+3]); err != nil {
			return err
		}
	}
	return nil
}

func (r *jsonReader) emitPlace(point *record, place []float64) error {
	point[columnLat], point[columnLon] = "0", "0"
	fix, field, reason := point.fix()
	fix.Lon, fix.Lat = place[0], place[1]
	if !math.IsNaN(place[2]) {
		fix.Elevation = place[2]
	}
	if reason != "" {
		r.file.reject(r.index, field, reason)
	} else if err := r.emit(fix); err != nil {
		return err
	}
	if !r.line {
		r.index++
	}
	return nil
}

func (r *jsonReader) emit(fix lane.Fix) error {
	if math.IsNaN(fix.Lat) || math.IsNaN(fix.Lon) {
		r.file.reject(r.index, "lat", missing)
		return nil
	}
	return r.file.emit(r.index, fix)
}

// jsonSource reads no more than left bytes, and keeps its error, which package jx
// wraps.
type jsonSource struct {
	r    *bufio.Reader
	left int
	err  error // but io.EOF
}

// Read implements io.Reader. It returns errToken when no bytes are left.
func (s *jsonSource) Read(p []byte) (int, error) {
	if s.left <= 0 {
		s.err = errToken
		return 0, errToken
	}
	n, err := s.r.Read(p[:min(len(p), s.left)])
	s.left -= n
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.err = err
	}
	return n, err
}
