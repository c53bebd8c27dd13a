package trackfile

import (
	"bytes"
	"slices"
	"strings"
)

// csvFormat is lines of values, whose first line names the columns: as GPSLogger
// writes it, or others under the names that columnOf knows. A quoted value ends on
// its line. Between semicolons, numbers may have a decimal comma.
func csvFormat() format {
	return format{
		name: "CSV", extensions: []string{".csv", ".txt"}, mediaTypes: []string{"text/csv", "application/csv"},
		matches: func(prefix []byte) bool {
			first, _, _ := bytes.Cut(bytes.TrimLeft(prefix, "\r\n"), []byte("\n"))
			return newCSVHeader(bytes.TrimRight(first, "\r")) != nil
		},
		read: readCSV,
	}
}

// IsCSV reports whether a file that begins so is CSV, whose first line names columns.
func IsCSV(prefix []byte) bool { return csvFormat().matches(prefix) }

// csvHeader says what the columns of a CSV file are.
type csvHeader struct {
	separator byte
	columns   []column
}

// newCSVHeader returns what a first line says, or nil if it does not name columns
// for a place.
func newCSVHeader(line []byte) *csvHeader {
	for _, separator := range []byte(",;\t") {
		h := &csvHeader{separator: separator}
		var names []string
		for _, name := range splitCSV(nil, line, separator) {
			names = append(names, name)
			h.columns = append(h.columns, columnOf(name))
		}
		if slices.Contains(h.columns, columnLat) && slices.Contains(h.columns, columnLon) && len(names) < 1000 {
			return h
		}
	}
	return nil
}

func readCSV(f *File) error {
	lines := newLineReader(f.source)
	var header *csvHeader
	var values []string
	return lines.each(func(line []byte, long bool) error {
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		if header == nil {
			if header = newCSVHeader(line); header == nil || long {
				return &FormatError{Unusable, "The first line must name the columns, among them time, lat and lon."}
			}
			return nil
		}
		if long {
			f.reject(lines.number, "", tooLong)
			return nil
		}
		values = splitCSV(values[:0], line, header.separator)
		if header.repeats(values) {
			return nil // of files that were joined
		}
		r := header.record(values)
		return f.record(lines.number, &r)
	})
}

// repeats reports whether a line is the header once more.
func (h *csvHeader) repeats(values []string) bool {
	for i, value := range values {
		if i < len(h.columns) && h.columns[i] == columnLat {
			return columnOf(value) == columnLat
		}
	}
	return false
}

func (h *csvHeader) record(values []string) (r record) {
	for i, value := range values {
		if i >= len(h.columns) {
			break
		}
		if h.separator == ';' && h.columns[i] != columnTime {
			value = strings.Replace(value, ",", ".", 1)
		}
		r.set(h.columns[i], value)
	}
	return r
}

// record hands over a record's fix, or why there is none.
func (f *File) record(index int, r *record) error {
	fix, field, reason := r.fix()
	if reason != "" {
		f.reject(index, field, reason)
		return nil
	}
	return f.emit(index, fix)
}

// splitCSV appends the values of a line to values.
func splitCSV(values []string, line []byte, separator byte) []string {
	for {
		line = bytes.TrimLeft(line, " ")
		var value []byte
		if len(line) > 0 && line[0] == '"' {
			value, line = quotedCSV(line[1:])
		}
		plain, rest, more := bytes.Cut(line, []byte{separator})
		values = append(values, string(append(value, plain...)))
		if !more {
			return values
		}
		line = rest
	}
}

// quotedCSV returns a quoted value, and what is behind its quote.
func quotedCSV(line []byte) (value, rest []byte) {
	for i := 0; i < len(line); i++ {
		if line[i] != '"' {
			value = append(value, line[i])
			continue
		}
		if i+1 == len(line) || line[i+1] != '"' {
			return value, line[i+1:]
		}
		value = append(value, '"')
		i++
	}
	return value, nil
}
