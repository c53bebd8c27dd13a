package trackfile

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"tracklane/internal/fuzztest"
	"tracklane/internal/lane"
)

// readFile is what a fuzz test saw of a file.
type readFile struct {
	file     *File
	fixes    map[int][]int64 // times by index
	accepted int
	rejected int
	indexes  map[int]bool // of fixes and rejections
	err      error
}

// fuzz checks what holds of every input: the reader does not panic, hands over every
// fix or says why not, each at a place of its own, with a time that the input holds,
// the same when it is read again, and holds little.
func fuzz(f *testing.F, name string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var files []*readFile
		err := Walk(bytes.NewReader(input), name, "", limits, func(file *File) error {
			files = append(files, readFuzzed(t, file))
			return nil
		})
		runtime.ReadMemStats(&after)
		if held := after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc); held > 64<<20 {
			t.Fatalf("%d bytes for %d", held, len(input))
		}
		n := 0
		again := Walk(bytes.NewReader(input), name, "", limits, func(file *File) error {
			second := readFuzzed(t, file)
			if first := files[n]; fmt.Sprint(first.fixes, first.rejected, first.err) != fmt.Sprint(second.fixes, second.rejected, second.err) {
				t.Fatalf("%v, and then %v", first, second)
			}
			n++
			return nil
		})
		if fmt.Sprint(err) != fmt.Sprint(again) {
			t.Fatalf("%v, and then %v", err, again)
		}
		if len(files) == 1 && files[0].file.format != nil && name != "a" {
			files[0].check(t, string(input))
		}
	})
}

func readFuzzed(t *testing.T, file *File) *readFile {
	r := &readFile{file: file, fixes: map[int][]int64{}, indexes: map[int]bool{}}
	last := -1
	next := func(index int) {
		if index < last || index == last && file.format.name != "NDJSON" {
			t.Fatalf("the fix at %d comes after the one at %d", index, last)
		}
		last = index
		r.indexes[index] = true
	}
	r.err = file.Read(Sink{
		Fix: func(index int, fix lane.Fix) error {
			next(index)
			r.accepted++
			r.fixes[index] = append(r.fixes[index], fix.Time)
			return nil
		},
		Reject: func(index int, field, reason string) {
			next(index)
			r.rejected++
			if reason == "" {
				t.Fatal("a rejection without a reason")
			}
		},
	})
	if r.err == nil && r.accepted+r.rejected == 0 {
		t.Fatal("a file without fixes is no error")
	}
	return r
}

// check compares what was read of a file that is in no container with its text.
func (r *readFile) check(t *testing.T, text string) {
	lines := linesOf(text)
	switch r.file.format.name {
	case "IGC":
		r.checkIGC(t, lines)
	case "CSV", "NDJSON":
		r.checkLines(t, lines)
	case "GPX", "KML":
		contents, points := contentsOf(text)
		r.checkTimes(t, fuzztest.Times(text+" "+contents))
		if r.file.format.name == "GPX" && r.err == nil && r.accepted+r.rejected != points {
			t.Fatalf("%d of %d points", r.accepted+r.rejected, points)
		}
	default:
		r.checkTimes(t, fuzztest.Times(text+" "+fuzztest.Unescaped(text)))
	}
}

func (r *readFile) checkTimes(t *testing.T, held map[int64]bool) {
	for index, times := range r.fixes {
		for _, at := range times {
			if !held[at] {
				t.Fatalf("the time %v at %d is not in the file", lane.TimeOf(at), index)
			}
		}
	}
}

// checkLines checks that the time of each fix is in its line, and that each line has
// a fix or a reason, but for the first one of a CSV file, those that repeat it, and
// those with an area.
func (r *readFile) checkLines(t *testing.T, lines []string) {
	header := r.file.format.name == "CSV"
	for i, line := range lines {
		held := fuzztest.Times(line + " " + strings.ReplaceAll(line, `"`, "") + " " + fuzztest.Unescaped(line))
		for _, at := range r.fixes[i+1] {
			if !held[at] {
				t.Fatalf("the time %v is not in the line %q", lane.TimeOf(at), line)
			}
		}
		switch {
		case len(strings.TrimSpace(line)) == 0:
		case header:
			header = false
		case r.err == nil && !r.indexes[i+1] && !strings.Contains(fuzztest.Unescaped(line), "geometry") && !regexp.MustCompile(`(?i)lat`).MatchString(line):
			t.Fatalf("the line %q is neither a fix nor rejected", line)
		}
	}
}

// checkIGC checks that the time of each fix is its record's on a day from one of the
// dates on, and that each B record has a fix or a reason.
func (r *readFile) checkIGC(t *testing.T, lines []string) {
	dates := make(map[int64]bool)
	for i, line := range lines {
		line = strings.TrimLeft(line, "\x00 \t")
		if line != "" && line[0] == 'H' {
			for at := 5; at+6 <= len(line); at++ {
				if date, err := time.Parse("020106", line[at:at+6]); err == nil {
					dates[date.Unix()/86400] = true
					dates[date.AddDate(-100, 0, 0).Unix()/86400] = true
					dates[date.AddDate(100, 0, 0).Unix()/86400] = true
				}
			}
		}
		for _, at := range r.fixes[i+1] {
			moment := lane.TimeOf(at).UTC()
			if line[1:7] != moment.Format("150405") || !strings.Contains(line, strings.TrimRight(moment.Format(".000000")[1:], "0")) {
				t.Fatalf("the time %v is not that of %q", moment, line)
			}
			dated := false
			for midnights := int64(0); midnights <= int64(i) && !dated; midnights++ {
				dated = dates[moment.Unix()/86400-midnights]
			}
			if !dated {
				t.Fatalf("the day of %v is not one of the file's", moment)
			}
		}
		if record := line != "" && line[0] == 'B'; r.err == nil && record != r.indexes[i+1] {
			t.Fatalf("the line %q is neither a fix nor rejected", line)
		}
	}
}

// linesOf divides a text at every kind of line end.
func linesOf(text string) []string {
	text = strings.TrimPrefix(text, "\xef\xbb\xbf")
	return strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
}

// contentsOf returns all character data of an XML file in one, as far as it can be
// read, and the number of its track points.
func contentsOf(text string) (contents string, points int) {
	decoder := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(text, "\xef\xbb\xbf")))
	decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	decoder.Strict = false
	var all strings.Builder
	for {
		token, err := decoder.RawToken()
		if err != nil {
			return all.String(), points
		}
		switch t := token.(type) {
		case xml.CharData:
			all.Write(t)
		case xml.EndElement:
			if t.Name.Local == "trkpt" {
				points++
			}
		}
	}
}

func FuzzIGC(f *testing.F) {
	fuzz(f, "a.igc", oneFix, "AXYZ\nHFDTEDATE:140726\nI033637LAD3839LOD4042TDS\nB1015304630000N00715000EA01200012341234567\nB0015304630000S00715000WV-1200-123\n",
		"\xef\xbb\xbfAXYZ\r\nHFDTE311292\rB2359594630000N00715000EA0120001234\r\r\nB0000004630000N00715000EA0120001234\nB\nHFDTE010100\nB1")
}

func FuzzGPX(f *testing.F) {
	fuzz(f, "a.gpx", `<?xml version="1.0" encoding="ISO-8859-1"?><gpx><trk><trkpt lat="46.5" lon="7.25"><ele>1</ele><time>2026-07-14T10:15:30.5+02:00</time></trkpt></trk></gpx>`,
		`<gpx><trkpt lat="1" lon="2"/></gpx>`, `<gpx><trkpt lat="1" lon="2"><time><![CDATA[2026-07-14]]>T10:15:3&#48;Z</time><trkpt/></trkpt></gpx><gpx/>`,
		`<!DOCTYPE gpx [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><gpx><trkpt lat="1" lon="2"><time>&b;</time></trkpt></gpx>`)
}

func FuzzKML(f *testing.F) {
	fuzz(f, "a.kml", `<kml><gx:Track><when>2026-07-14T10:15:30Z</when><gx:coord>7.25 46.5 1</gx:coord></gx:Track></kml>`,
		`<kml><Placemark><TimeStamp><when>2026-07-14T10:15:30Z</when></TimeStamp><Point><coordinates>7,46</coordinates></Point></Placemark><LineString/></kml>`,
		`<kml><Track><when/><coord/><when>2026-07-14T10:15:30Z</when><Track><coord>1 2</coord></Track></Track></kml>`)
}

func FuzzGeoJSON(f *testing.F) {
	fuzz(f, "a.geojson", `{"type":"Feature","geometry":{"type":"LineString","coordinates":[[7,46,1],[7,46]]},"properties":{"coordTimes":["2026-07-14T10:15:30Z",1784024130]}}`,
		`{"features":[{"geometry":{"type":"Point","coordinates":[7,46]},"properties":{"time":1}}]}`, `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T10:15:30Z","lat":1,"lon":2}]}`,
		`{"features":[{"properties":{"coordinateProperties":{"times":[["2026-07-14 10:15:30+02",null],[{}]]}},"geometry":{"coordinates":[[[1,2]],[[3]]],"type":"MultiLineString"}}]}`)
}

func FuzzCSV(f *testing.F) {
	fuzz(f, "a.csv", "time,lat,lon,elevation\n2026-07-14T10:15:30Z,46,7,\"1\"\n", "lat;lon;timestamp_ms\n46,5;7,5;1784024130000\n",
		"\xef\xbb\xbflat\tlon\ttime\r\n1\t2\t1784024130.25\rlat\tlon\ttime\n1\t2\t\"2026-07-14 12:15:30 UTC")
}

func FuzzNDJSON(f *testing.F) {
	fuzz(f, "a.ndjson", "{\"time\":1,\"lat\":2,\"lon\":3}\n{\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]}}\n",
		"{\"ts\":\"2026-07-14T10:15:30Z\",\"lat\":\"2\",\"lng\":3}\r\n{}\n[]\n{\"time\":1784024130,\"timestamp_ms\":1,\"lat\":1,\"lon\":2}")
}

func FuzzContainers(f *testing.F) {
	fuzz(f, "a", zipOf(f, entry{name: "a.igc", text: oneFix}, entry{name: "b.gz", text: gzipOf(f, oneFix), stored: true}), gzipOf(f, oneFix),
		zipOf(f, entry{name: "../../x.kmz", text: zipOf(f, entry{name: "doc.kml", text: "<kml/>"}), stored: true}, entry{name: "b.zip", text: zipOf(f)}))
}
