package trackfile

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tracklane/internal/lane"
)

// igcFormat is the flight recorders' format: FAI, Technical Specification for
// IGC-approved GNSS Flight Recorders, appendix A. What real files do beyond that is
// accepted: unknown records, missing signatures, other line ends, Latin-1.
func igcFormat() format {
	record := regexp.MustCompile(`(?:^|[\r\n])(?:A[A-Z0-9]{3}[^,;]*(?:[\r\n]|$)|H[A-Z]DTE|B[0-9]{13}[NS][0-9]{8}[EW])`)
	return format{
		name: "IGC", extensions: []string{".igc"},
		mediaTypes: []string{"application/vnd.fai.igc", "application/x-igc", "application/igc"},
		matches:    record.Match,
		read:       func(f *File) error { return (&igcReader{file: f, last: -1}).read() },
	}
}

const day = 24 * time.Hour

// igcReader reads one IGC file.
type igcReader struct {
	file *File

	midnight time.Time     // of the last HFDTE; zero before that
	last     time.Duration // from there to the last fix; negative before the first
	pressure bool          // there was a pressure altitude that is not 0

	lad, lod, tds span
}

// span is where an extension of the B record is: its bytes from up to but without
// to. It is empty where there is no such extension.
type span struct{ from, to int }

func (r *igcReader) read() error {
	lines := newLineReader(r.file.source)
	return lines.each(func(line []byte, long bool) error {
		line = bytes.TrimLeft(line, "\x00 \t")
		if len(line) == 0 {
			return nil
		}
		switch line[0] {
		case 'A':
			if r.file.Device == "" {
				r.file.Device = plainText(line[1:])
			}
		case 'H':
			r.readHeader(line)
		case 'I':
			r.readExtensions(line)
		case 'B':
			if long {
				r.file.reject(lines.number, "", tooLong)
				return nil
			}
			return r.readFix(lines.number, line)
		}
		return nil
	})
}

// plainText returns a header's text as it can be stored: at most 100 characters,
// none of them a control character.
func plainText(text []byte) string {
	kept := []rune(strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == unicode.ReplacementChar {
			return -1
		}
		return c
	}, textOf(text))))
	return strings.TrimSpace(string(kept[:min(len(kept), 100)]))
}

// readHeader reads the date, HFDTEddmmyy or HFDTEDATE:ddmmyy,nn, and the pilot.
func (r *igcReader) readHeader(line []byte) {
	if len(line) < 5 {
		return
	}
	switch string(line[2:5]) {
	case "DTE":
		digits := bytes.TrimLeft(line[5:], "DATEdate: ")
		if len(digits) < 6 {
			return
		}
		d, month, y := decimal(digits[:2]), decimal(digits[2:4]), decimal(digits[4:6])
		if y < 0 {
			return
		}
		if y += 2000; y >= 2093 { // the format is of 1993
			y -= 100
		}
		date := time.Date(y, time.Month(month), d, 0, 0, 0, 0, time.UTC)
		if d < 1 || date.Day() != d || int(date.Month()) != month {
			return
		}
		r.midnight, r.last = date, -1
	case "PLT":
		if _, name, ok := bytes.Cut(line, []byte(":")); ok && r.file.Pilot == "" {
			r.file.Pilot = plainText(name)
		}
	}
}

// readExtensions reads an I record: INN and for each of the NN extensions SSFFCCC,
// its first and last column, from 1, and its code. It replaces the one before.
func (r *igcReader) readExtensions(line []byte) {
	r.lad, r.lod, r.tds = span{}, span{}, span{}
	for rest := line[min(3, len(line)):]; len(rest) >= 7; rest = rest[7:] {
		at := span{decimal(rest[:2]) - 1, decimal(rest[2:4])}
		if at.from < bLength || at.to <= at.from {
			continue
		}
		switch strings.ToUpper(string(rest[4:7])) {
		case "LAD":
			r.lad = at
		case "LOD":
			r.lod = at
		case "TDS":
			r.tds = at
		}
	}
}

// bLength is how many bytes a B record has without extensions:
//
//	B HHMMSS DDMMmmmN DDDMMmmmE V PPPPP GGGGG
const bLength = 35

func (r *igcReader) readFix(index int, line []byte) error {
	if r.midnight.IsZero() {
		return &FormatError{Unusable, "The file has fixes but no date, an HFDTE record, before them: no fix has a time."}
	}
	fix, at, field, reason := r.parseFix(line)
	if reason != "" {
		r.file.reject(index, field, reason)
		return nil
	}
	r.last = at
	fix.Time = r.midnight.Add(at).UnixMicro()
	return r.file.emit(index, fix)
}

// parseFix returns a B record's fix without its time, which is at after the
// midnight of the file's date, or the field at fault and the reason.
func (r *igcReader) parseFix(line []byte) (fix lane.Fix, at time.Duration, field, reason string) {
	fix = lane.NoFix()
	if len(line) < bLength {
		return fix, 0, "", "a B record must have 35 characters or more"
	}
	timeOfDay, ok := r.timeOfDay(line)
	if !ok {
		return fix, 0, timeField, "must be a time of day, HHMMSS"
	}
	if fix.Lat, ok = igcDegrees(line[7:9], line[9:14], r.lad.of(line), line[14], 'N', 'S'); !ok {
		return fix, 0, "lat", "must be DDMMmmm and N or S, with minutes below 60"
	}
	if fix.Lon, ok = igcDegrees(line[15:18], line[18:23], r.lod.of(line), line[23], 'E', 'W'); !ok {
		return fix, 0, "lon", "must be DDDMMmmm and E or W, with minutes below 60"
	}
	if fix.Lat == 0 && fix.Lon == 0 {
		return fix, 0, "lat", "must not be 0, with lon 0: the logger had no position"
	}
	validity := line[24]
	if validity != 'A' && validity != 'V' {
		return fix, 0, "", "the validity must be A or V"
	}
	pressure, ok := igcAltitude(line[25:30])
	if !ok {
		return fix, 0, "barometric_altitude", "must be five digits, or - and four"
	}
	altitude, ok := igcAltitude(line[30:35])
	if !ok {
		return fix, 0, "elevation", "must be five digits, or - and four"
	}
	if r.pressure = r.pressure || pressure != 0; r.pressure {
		fix.BarometricAltitude = pressure
	}
	if validity == 'A' {
		fix.Elevation = altitude
	}
	return fix, r.onItsDay(timeOfDay), "", ""
}

// of returns a line's extension, or nothing if the line is too short.
func (s span) of(line []byte) []byte {
	if s.to > len(line) {
		return nil
	}
	return line[s.from:s.to]
}

func (r *igcReader) timeOfDay(line []byte) (time.Duration, bool) {
	hours, minutes, seconds := decimal(line[1:3]), decimal(line[3:5]), decimal(line[5:7])
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || seconds < 0 || seconds > 59 {
		return 0, false
	}
	at := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second
	unit := time.Second
	for _, digit := range r.tds.of(line) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		unit /= 10
		at += unit * time.Duration(digit-'0')
	}
	return at, true
}

// onItsDay returns how long after the file's date a time of day is. Times go back a
// little where fixes are out of order, so only a step of more than half a day is
// midnight, and the way back over it.
func (r *igcReader) onItsDay(timeOfDay time.Duration) time.Duration {
	if r.last < 0 {
		return timeOfDay
	}
	at := r.last.Truncate(day) + timeOfDay
	switch {
	case at < r.last-day/2:
		at += day
	case at > r.last+day/2 && at >= day:
		at -= day
	}
	return at
}

// igcDegrees returns a coordinate's degrees: whole ones, minutes with three decimals
// and, where the file has them, more decimals of the minutes.
func igcDegrees(degrees, minutes, more []byte, hemisphere, positive, negative byte) (float64, bool) {
	whole, thousandths, scale := decimal(degrees), decimal(minutes), 60_000
	if whole < 0 || thousandths < 0 || thousandths >= scale {
		return 0, false
	}
	units := whole*scale + thousandths
	if beyond := decimal(more); beyond >= 0 && len(more) <= 6 {
		for range more {
			units, scale = units*10, scale*10
		}
		units += beyond
	}
	if hemisphere == negative {
		units = -units
	} else if hemisphere != positive {
		return 0, false
	}
	return float64(units) / float64(scale), true
}

func igcAltitude(text []byte) (float64, bool) {
	sign := 1
	if text[0] == '-' {
		text, sign = text[1:], -1
	}
	metres := decimal(text)
	return float64(sign * metres), metres >= 0
}

// decimal returns the number that digits make, or -1 if there are others or none.
func decimal(digits []byte) int {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1
	}
	return n
}
