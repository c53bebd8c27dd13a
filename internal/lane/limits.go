package lane

import (
	"bytes"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// maxTextLength is the longest text a request may give, in characters. A
// track's texts are stored with each of its points, so a text without a bound
// would let a small request fill a disk.
const maxTextLength = 100

// What one request may make of itself. The body alone does not bound it: the
// smallest point takes two bytes, and a track's texts are stored with each point.
const (
	// MaxPoints is how many points a request may hold, those that are left out
	// included: 69 hours of one a second.
	MaxPoints = 250_000

	// maxStored is how many bytes of a table a request may fill.
	maxStored = 64 << 20

	// rowSize is what PostgreSQL takes for a row without its texts, in bytes.
	rowSize = 120
)

// TooLargeError says that a request holds more than may be made of one.
type TooLargeError struct{ Reason string }

func (e *TooLargeError) Error() string { return e.Reason }

func tooManyPoints() error {
	return &TooLargeError{fmt.Sprintf("A request must not hold more than %d points; send them in several requests.", MaxPoints)}
}

// StoredSize is about how many bytes of a table the points of one track fill, with the
// texts of the track, which each row has.
func (p *Points) StoredSize() int64 {
	row := rowSize
	for _, field := range p.Tracks[0].Fields {
		row += len(field.Value)
	}
	return int64(p.Len()) * int64(row)
}

// checkStored returns a *TooLargeError if points of one track would fill more of
// their table than a request may.
func checkStored(points *Points) error {
	if size := points.StoredSize(); size > maxStored {
		return &TooLargeError{fmt.Sprintf("%d points, each stored with the texts of its track, would take %d MB, and those of a request %d MB at most; "+
			"send them in several requests.", points.Len(), size>>20, maxStored>>20)}
	}
	return nil
}

// maxAhead is how far a device's clock may be ahead of the server's.
const maxAhead = 24 * time.Hour

// earliest is the time before which no GPS track can have been recorded:
// 1990-01-01 UTC, in Unix microseconds.
const earliest = 631152000 * 1_000_000

// The check functions return why a value cannot be stored, or "".

func checkTime(at int64, now time.Time) string {
	if at < earliest {
		return "must not be before 1990"
	}
	if at > now.Add(maxAhead).UnixMicro() {
		return "must not be more than 24 hours ahead"
	}
	return ""
}

func checkCoordinate(degrees, limit float64) string {
	if !(degrees >= -limit && degrees <= limit) {
		return fmt.Sprintf("must be between -%g and %g", limit, limit)
	}
	return ""
}

// checkFloat accepts any finite number when limit is 0, and else those of 0…limit.
func checkFloat(value, limit float64) string {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return "must be a finite number"
	}
	if limit != 0 && (value < 0 || value > limit) {
		return fmt.Sprintf("must be between 0 and %g", limit)
	}
	return ""
}

func checkText(text []byte) string {
	switch {
	case !utf8.Valid(text):
		return "must be valid UTF-8"
	case bytes.IndexByte(text, 0) >= 0:
		return "must not contain a NUL character"
	case len(text) > maxTextLength && utf8.RuneCount(text) > maxTextLength:
		return fmt.Sprintf("must be at most %d characters long", maxTextLength)
	}
	return ""
}

const (
	latLimit = 90
	lonLimit = 180
)
