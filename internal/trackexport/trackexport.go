// Package trackexport writes the fixes of a flight in the formats that scorers,
// maps and spreadsheets read. It keeps no more in memory than a few bytes a fix.
package trackexport

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"

	"tracklane/internal/lane"
)

// Flight says whose fixes are written. A field may be empty.
type Flight struct{ ID, Lane, Pilot, Race, Device string }

// Fixes iterates over a flight's fixes in the order of their times, each time that
// it is ranged over. An error ends it.
type Fixes = iter.Seq2[lane.Fix, error]

// Format is one of the formats.
type Format struct {
	Name      string // as users write it, and the ending of a file's name
	MediaType string
	write     func(*bufio.Writer, Flight, Fixes) error
}

// Formats lists the formats; the first is the one that a client gets that names none.
func Formats() []Format {
	return []Format{
		{"geojson", "application/geo+json", writeGeoJSON},
		{"igc", "application/vnd.fai.igc", writeIGC},
		{"gpx", "application/gpx+xml", writeGPX},
		{"kml", "application/vnd.google-earth.kml+xml", writeKML},
		{"csv", "text/csv; charset=utf-8", writeCSV},
	}
}

// Find returns the format with a name, or false.
func Find(name string) (Format, bool) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

// Names lists the names of the formats.
func Names() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}

// Write writes the fixes of a flight. The error is the fixes' or that of w; what
// was written before it is not a whole file then.
func (f Format) Write(w io.Writer, flight Flight, fixes Fixes) error {
	buffered := bufio.NewWriterSize(w, 32<<10)
	if err := f.write(buffered, flight, fixes); err != nil {
		return fmt.Errorf("write flight %q as %s: %w", flight.ID, f.Name, err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write flight %q as %s: %w", flight.ID, f.Name, err)
	}
	return nil
}

// FileName is a name for the file of a flight: of its id, what every file system
// accepts.
func (f Format) FileName(id string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '_'
	}, id)
	return name[:min(len(name), 100)] + "." + f.Name
}

// rfc3339 is the time of a fix to the microsecond, without zeros that say nothing.
func rfc3339(microseconds int64) string {
	return lane.TimeOf(microseconds).Format("2006-01-02T15:04:05.999999Z07:00")
}

// number is a float in digits that are read as the same float.
func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// altitude is a fix's, by GNSS or, where it has none, by pressure; NaN without either.
func altitude(fix lane.Fix) float64 {
	if math.IsNaN(fix.Elevation) {
		return fix.BarometricAltitude
	}
	return fix.Elevation
}
