package trackfile

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"tracklane/internal/lane"
)

// fuzz checks what holds of every input: the reader does not panic, hands over every
// fix or says why not, each at a place of its own, and holds little.
func fuzz(f *testing.F, name string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := Walk(bytes.NewReader(input), name, "", limits, func(file *File) error {
			accepted, rejected, last := 0, 0, -1
			next := func(index int) {
				if index < last || index == last && !strings.HasSuffix(name, "ndjson") {
					t.Fatalf("the fix at %d comes after the one at %d", index, last)
				}
				last = index
			}
			err := file.Read(Sink{
				Fix: func(index int, fix lane.Fix) error {
					next(index)
					accepted++
					return nil
				},
				Reject: func(index int, field, reason string) {
					next(index)
					rejected++
					if reason == "" {
						t.Fatal("a rejection without a reason")
					}
				},
			})
			if accepted+rejected != file.fixes {
				t.Fatalf("%d accepted and %d rejected of %d", accepted, rejected, file.fixes)
			}
			if err == nil && accepted+rejected == 0 {
				t.Fatal("a file without fixes is no error")
			}
			return nil
		})
		_ = err
		runtime.ReadMemStats(&after)
		if held := after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc); held > 64<<20 {
			t.Fatalf("%d bytes for %d", held, len(input))
		}
	})
}

func FuzzIGC(f *testing.F) {
	fuzz(f, "a.igc", oneFix, "AXYZ\nHFDTEDATE:140726\nI033637LAD3839LOD4042TDS\nB1015304630000N00715000EA01200012341234567\nB0015304630000S00715000WV-1200-123\n")
}

func FuzzGPX(f *testing.F) {
	fuzz(f, "a.gpx", `<?xml version="1.0" encoding="ISO-8859-1"?><gpx><trk><trkpt lat="46.5" lon="7.25"><ele>1</ele><time>2026-07-14T10:15:30.5+02:00</time></trkpt></trk></gpx>`,
		`<gpx><trkpt lat="1" lon="2"/></gpx>`)
}

func FuzzKML(f *testing.F) {
	fuzz(f, "a.kml", `<kml><gx:Track><when>2026-07-14T10:15:30Z</when><gx:coord>7.25 46.5 1</gx:coord></gx:Track></kml>`,
		`<kml><Placemark><TimeStamp><when>2026-07-14T10:15:30Z</when></TimeStamp><Point><coordinates>7,46</coordinates></Point></Placemark><LineString/></kml>`)
}

func FuzzGeoJSON(f *testing.F) {
	fuzz(f, "a.geojson", `{"type":"Feature","geometry":{"type":"LineString","coordinates":[[7,46,1],[7,46]]},"properties":{"coordTimes":["2026-07-14T10:15:30Z",1784024130]}}`,
		`{"features":[{"geometry":{"type":"Point","coordinates":[7,46]},"properties":{"time":1}}]}`, `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T10:15:30Z","lat":1,"lon":2}]}`)
}

func FuzzCSV(f *testing.F) {
	fuzz(f, "a.csv", "time,lat,lon,elevation\n2026-07-14T10:15:30Z,46,7,\"1\"\n", "lat;lon;timestamp_ms\n46,5;7,5;1784024130000\n")
}

func FuzzNDJSON(f *testing.F) {
	fuzz(f, "a.ndjson", "{\"time\":1,\"lat\":2,\"lon\":3}\n{\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]}}\n")
}

func FuzzContainers(f *testing.F) {
	fuzz(f, "a", zipOf(f, entry{name: "a.igc", text: oneFix}, entry{name: "b.gz", text: gzipOf(f, oneFix), stored: true}), gzipOf(f, oneFix))
}
