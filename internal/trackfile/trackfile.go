// Package trackfile reads recorded flights as loggers, apps and websites write them:
// IGC, GPX, KML, KMZ, GeoJSON, CSV, NDJSON, our own JSON, and gzip and zip files of
// these. It reads a stream and hands over each fix as it comes, so that a file of any
// size takes little memory (only a GeoJSON line has to be held, see maxHeld).
//
// A fix is a lane.Fix. Times are UTC, to the microsecond; a fix without a time that is
// certain is rejected. Elevation is the altitude by GNSS in metres and
// BarometricAltitude the one by pressure; a negative speed or heading means that it
// is not known. Where a format states no unit, speeds are m/s.
//
// Of an IGC file, a B record becomes:
//
//   - degrees as one division, (degrees*60000 + thousandths of minutes) / 60000, and
//     with LAD or LOD of n digits the same with 60000*10^n: the float64 nearest to what
//     is written, negative for S and W. Multiplied by the same number and rounded, it
//     is what was written;
//   - the time of day, with TDS for its fraction, on the day of the last HFDTE record. A
//     step back of more than 12 hours is midnight; a smaller one is a fix out of order;
//   - Elevation from the GNSS altitude of a fix with validity A, none with V;
//   - BarometricAltitude from the pressure altitude, none for the 00000 of a logger
//     without a barometer: until the first other value. A writer puts 00000 for none,
//     so both come back.
//
// To add a format, write one file with a function that returns a format, name it in
// formats, and test it.
package trackfile

import (
	"bufio"
	"errors"
	"io"

	"tracklane/internal/lane"
)

// Cause says what is wrong with a file.
type Cause uint8

// The causes of a FormatError.
const (
	Malformed Cause = iota // it cannot be read, or not to its end
	Unusable               // it can be read, and holds no fix that can be stored
	Unknown                // it is in no format of this package
)

// FormatError says why a file, or the rest of it, was not read. Fixes handed over
// before it are good.
type FormatError struct {
	Cause  Cause
	Reason string // a sentence for the sender
}

func (e *FormatError) Error() string { return e.Reason }

func malformed(reason string) error { return &FormatError{Malformed, reason} }

// errBreaksOff says that a file is truncated.
func errBreaksOff() error {
	return malformed("The file breaks off before its end; send the whole file again.")
}

// Sink receives what a file holds, in its order.
type Sink struct {
	// Fix receives a fix that could be read. It has not been checked beyond that.
	// index is its line, from 1, in formats of lines, and elsewhere its place among
	// the fixes of the file, from 0. An error ends the reading of the file.
	Fix func(index int, fix lane.Fix) error

	// Reject receives why a fix could not be read.
	Reject func(index int, field, reason string)
}

// File is one file with a flight. It is not safe for concurrent use.
type File struct {
	// Name is the path that the file came with; empty when it came without.
	Name string

	// Device and Pilot are what the file says of itself before its first fix; empty if
	// it does not say.
	Device, Pilot string

	// FlightID is the flight_id of a GeoJSON file. It is known when the first fix is
	// handed over if it stands before the features, and else too late.
	FlightID string

	source *bufio.Reader
	format *format
	sink   Sink

	fixes, timeless int
	stopped         error // of the sink
}

// format is a kind of file.
type format struct {
	name       string
	extensions []string // in lower case, with the dot
	mediaTypes []string

	// matches reports whether a file that begins so is one. prefix has no byte order
	// mark, and at most prefixBytes.
	matches func(prefix []byte) bool

	// held is how many bytes of a file are in memory at the most, where it cannot be
	// read point by point.
	held int

	// read hands a file's fixes to its emit and reject. What comes of reading the
	// source is returned as it is.
	read func(f *File) error
}

// formats are all formats, in the order in which they are tried.
func formats() []format {
	return []format{gpxFormat(), kmlFormat(), ndjsonFormat(), jsonFormat(), csvFormat(), igcFormat()}
}

// Read hands the file's fixes to sink. It returns the sink's error as it is, a
// *FormatError if the file is at fault, and otherwise the error of the source.
func (f *File) Read(sink Sink) error {
	f.sink = sink
	if f.format == nil {
		return &FormatError{Unknown, "The file is none of IGC, GPX, KML, KMZ, GeoJSON, CSV or NDJSON, nor a zip or gzip file of these."}
	}
	err := f.format.read(f)
	var format *FormatError
	switch {
	case f.stopped != nil:
		return f.stopped
	case err == nil:
		return f.usable()
	case errors.As(err, &format):
		return format
	}
	return err
}

// Held is how many bytes reading the file may take at the most, beyond the few that
// any file does.
func (f *File) Held() int {
	if f.format == nil {
		return 0
	}
	return f.format.held
}

// usable returns an error if the whole file has no fix with a time.
func (f *File) usable() error {
	switch {
	case f.fixes == 0:
		return &FormatError{Unusable, "The file holds no fixes."}
	case f.timeless == f.fixes:
		return &FormatError{Unusable, "No point of the file has a time, so it is a line and not a recorded flight."}
	}
	return nil
}

const missing = "is missing"

// emit hands over a fix. Once it has returned an error, it must not be called again.
func (f *File) emit(index int, fix lane.Fix) error {
	f.fixes++
	f.stopped = f.sink.Fix(index, fix)
	return f.stopped
}

// reject hands over why a fix could not be read.
func (f *File) reject(index int, field, reason string) {
	f.fixes++
	if field == timeField && reason == missing {
		f.timeless++
	}
	f.sink.Reject(index, field, reason)
}

const timeField = "datetime"

// endOfSource turns the error of a source, or of a decoder that reads it, into that
// of the file.
func endOfSource(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBreaksOff()
	}
	return err
}
