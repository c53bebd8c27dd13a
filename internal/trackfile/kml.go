package trackfile

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// kmlFormat is KML 2.2 (https://developers.google.com/kml/documentation/kmlreference):
// what has times in it, gx:Track, and placemarks with a TimeStamp and a Point. A
// LineString has none.
func kmlFormat() format {
	root := rootPattern("kml")
	return format{
		name: "KML", extensions: []string{".kml"},
		mediaTypes: []string{"application/vnd.google-earth.kml+xml"},
		matches:    func(prefix []byte) bool { return isXML(prefix) && root.Match(prefix) },
		held:       maxHeld * bytesHeld,
		read:       func(f *File) error { return (&kmlReader{file: f, xml: newXMLReader(f.source)}).read() },
	}
}

// maxHeld is how many points of a part of a file are held at the most: of a KML
// track the times that wait for their places, of a GeoJSON line all of it.
const maxHeld = 100_000

// bytesHeld is what one of them takes.
const bytesHeld = 80

// kmlReader reads one KML file.
type kmlReader struct {
	file  *File
	xml   *xmlReader
	index int
	lines bool // there was a LineString

	// Of the track that is open: what waits for the other half of its point.
	whens, coords []string

	// Of the placemark that is open.
	when, point string
}

func (r *kmlReader) read() error {
	for {
		token, err := r.xml.next()
		if errors.Is(err, io.EOF) {
			if r.file.fixes == 0 && r.lines {
				return &FormatError{Unusable, "The file has lines without times, which are no recorded flight: send gx:Track, or placemarks with a TimeStamp."}
			}
			return nil
		}
		if err == nil {
			switch t := token.(type) {
			case xml.StartElement:
				err = r.start(t.Name.Local)
			case xml.EndElement:
				err = r.end(t.Name.Local)
			}
		}
		if err == nil {
			err = r.xml.skipText()
		}
		if err != nil {
			return err
		}
	}
}

func (r *kmlReader) start(name string) (err error) {
	track := r.xml.inside("Track")
	switch {
	case name == "Track":
		r.whens, r.coords = nil, nil
	case name == "Placemark":
		r.when, r.point = "", ""
	case name == "LineString" || name == "LinearRing":
		r.lines = true
	case name == "when" && track:
		err = r.half(&r.whens)
	case name == "coord" && track:
		err = r.half(&r.coords)
	case name == "when" && r.xml.inside("TimeStamp"):
		r.when, err = r.xml.text()
	case name == "coordinates" && r.xml.inside("Point"):
		r.point, err = r.xml.text()
	}
	return err
}

// half reads one half of a track's point, and hands the point over if it has both.
func (r *kmlReader) half(halves *[]string) error {
	text, err := r.xml.text()
	if err != nil {
		return err
	}
	if *halves = append(*halves, text); len(*halves) > maxHeld || len(text) > 100 {
		return malformed("The file has a track that is too long.")
	}
	if len(r.whens) == 0 || len(r.coords) == 0 {
		return nil
	}
	when, coord := r.whens[0], r.coords[0]
	r.whens, r.coords = r.whens[1:], r.coords[1:]
	return r.fix(when, strings.Fields(coord))
}

func (r *kmlReader) end(name string) error {
	switch name {
	case "Track":
		for range r.whens {
			r.file.reject(r.index, "lat", missing)
			r.index++
		}
		for range r.coords {
			r.file.reject(r.index, timeField, missing)
			r.index++
		}
		r.whens, r.coords = nil, nil
	case "Placemark":
		if r.when != "" && r.point != "" {
			return r.fix(r.when, strings.Split(r.point, ","))
		}
	}
	return nil
}

// fix hands over a point: longitude, latitude and perhaps altitude.
func (r *kmlReader) fix(when string, coord []string) error {
	var point record
	for i, column := range []column{columnLon, columnLat, columnElevation} {
		if i < len(coord) {
			point.set(column, coord[i])
		}
	}
	err := r.file.timed(r.index, &point, when, "")
	r.index++
	return err
}
