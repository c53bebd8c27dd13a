package trackexport

import (
	"bufio"
	"fmt"
	"math"
	"strings"
	"time"

	"tracklane/internal/lane"
)

// writeIGC writes the records A, H, I and B of the flight recorders' format (FAI,
// Technical Specification for IGC-approved GNSS Flight Recorders, appendix A). It
// has no G record: nothing here is signed.
//
// Where three decimals of the minutes do not say where a fix is, or whole seconds
// when, the extensions LAD, LOD and TDS add digits, so that what was read from such a
// file comes back the same. Altitudes are whole metres. A fix without one by GNSS is V;
// one without one by pressure has 00000, as loggers without that sensor write.
//
// The fixes are ranged over twice: the I record says how many digits there are.
func writeIGC(w *bufio.Writer, flight Flight, fixes Fixes) error {
	var digits igcDigits
	for fix, err := range fixes {
		if err != nil {
			return err
		}
		digits.need(fix)
	}
	w.WriteString("AXTLtracklane\r\n")
	wroteDate := false
	writer := igcWriter{w: w, digits: digits}
	for fix, err := range fixes {
		if err != nil {
			return err
		}
		at := lane.TimeOf(fix.Time)
		if !writer.follows(at) {
			fmt.Fprintf(w, "HFDTEDATE:%s\r\n", at.Format("020106"))
			if !wroteDate {
				wroteDate = true
				writeHeader(w, flight, digits)
			}
		}
		writer.last = at
		writer.writeFix(fix)
	}
	return nil
}

func writeHeader(w *bufio.Writer, flight Flight, digits igcDigits) {
	fmt.Fprintf(w, "HFPLTPILOTINCHARGE:%s\r\nHFDTMGPSDATUM:WGS84\r\nHFFTYFRTYPE:tracklane\r\n", igcText(flight.Pilot))
	var extensions []string
	next := 36 // columns are counted from 1
	for _, e := range []struct {
		code   string
		length int
	}{{"LAD", digits.minutes}, {"LOD", digits.minutes}, {"TDS", digits.seconds}} {
		if e.length > 0 {
			extensions = append(extensions, fmt.Sprintf("%02d%02d%s", next, next+e.length-1, e.code))
			next += e.length
		}
	}
	if len(extensions) > 0 {
		fmt.Fprintf(w, "I%02d%s\r\n", len(extensions), strings.Join(extensions, ""))
	}
}

// igcText is what a text record can hold: printable ASCII, on one line.
func igcText(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '_'
		}
		return c
	}, text)
}

// igcDigits is how many digits the fixes need beyond a B record's own.
type igcDigits struct{ minutes, seconds int }

// maxMinutes is how many more digits of the minutes there are at the most, where no
// smaller number is exact: the sixth is 2 micrometres.
const maxMinutes = 6

func (d *igcDigits) need(fix lane.Fix) {
	for _, degrees := range []float64{fix.Lat, fix.Lon} {
		for d.minutes < maxMinutes && !exact(degrees, d.minutes) {
			d.minutes++
		}
	}
	for d.seconds < 6 && fix.Time%int64(math.Pow10(6-d.seconds)) != 0 {
		d.seconds++
	}
}

// exact reports whether degrees are read from so many more digits as the same float.
func exact(degrees float64, digits int) bool {
	scale := 60_000 * math.Pow10(digits)
	return math.Round(degrees*scale)/scale == degrees
}

type igcWriter struct {
	w      *bufio.Writer
	digits igcDigits
	last   time.Time // zero before the first fix
}

// follows reports whether a reader knows the date of a fix by the one before it: it
// is of the same day, or it is early on the next and the other was late.
func (w *igcWriter) follows(at time.Time) bool {
	if w.last.IsZero() {
		return false
	}
	day := func(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }
	if day(at).Equal(day(w.last)) {
		return at.Sub(w.last) < 12*time.Hour
	}
	return at.Sub(w.last) < 12*time.Hour && day(at).Equal(day(w.last).AddDate(0, 0, 1))
}

func (w *igcWriter) writeFix(fix lane.Fix) {
	at := lane.TimeOf(fix.Time)
	lat, lad := igcDegrees(fix.Lat, 2, w.digits.minutes, "N", "S")
	lon, lod := igcDegrees(fix.Lon, 3, w.digits.minutes, "E", "W")
	validity := "A"
	if math.IsNaN(fix.Elevation) {
		validity = "V"
	}
	fraction := ""
	if w.digits.seconds > 0 {
		fraction = fmt.Sprintf("%06d", at.Nanosecond()/1000)[:w.digits.seconds]
	}
	w.w.WriteString("B" + at.Format("150405") + lat + lon + validity + igcAltitude(fix.BarometricAltitude) + igcAltitude(fix.Elevation) +
		lad + lod + fraction + "\r\n")
}

// igcDegrees returns degrees, minutes with three decimals and the hemisphere, and
// the further digits of the minutes.
func igcDegrees(degrees float64, width, digits int, positive, negative string) (main, more string) {
	hemisphere := positive
	if math.Signbit(degrees) {
		hemisphere, degrees = negative, -degrees
	}
	power := int64(math.Pow10(digits))
	units := int64(math.Round(degrees * 60_000 * float64(power)))
	thousandths, rest := units/power, units%power
	if digits > 0 {
		more = fmt.Sprintf("%0*d", digits, rest)
	}
	return fmt.Sprintf("%0*d%05d%s", width, thousandths/60_000, thousandths%60_000, hemisphere), more
}

// igcAltitude is five characters, in metres.
func igcAltitude(metres float64) string {
	if math.IsNaN(metres) {
		metres = 0
	}
	return fmt.Sprintf("%05d", int(max(-9999, min(99_999, math.Round(metres)))))
}
