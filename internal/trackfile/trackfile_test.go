package trackfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// limits are those of the tests.
var limits = Limits{Expanded: 8 << 20, Ratio: 100, FreeExpanded: 1 << 20, Files: 20}

// contents is what a walk found.
type contents struct {
	files    []*File
	fixes    []string // as "index time lat lon elevation/barometric speed heading"
	rejected []string // as "index field: reason"
	errors   []string // of the files
}

func walk(source io.Reader, name, mediaType string) (contents, error) {
	var c contents
	err := Walk(source, name, mediaType, limits, func(f *File) error {
		c.files = append(c.files, f)
		err := f.Read(Sink{
			Fix: func(index int, fix lane.Fix) error {
				c.fixes = append(c.fixes, describe(index, fix))
				return nil
			},
			Reject: func(index int, field, reason string) {
				c.rejected = append(c.rejected, fmt.Sprintf("%d %s: %s", index, field, reason))
			},
		})
		var format *FormatError
		if errors.As(err, &format) {
			c.errors = append(c.errors, format.Reason)
			return nil
		}
		return err
	})
	return c, err
}

func describe(index int, fix lane.Fix) string {
	return fmt.Sprintf("%d %s %s %s %s/%s %s %s", index, lane.TimeOf(fix.Time).Format(time.RFC3339Nano), number(fix.Lat), number(fix.Lon),
		number(fix.Elevation), number(fix.BarometricAltitude), number(fix.Speed), number(fix.Heading))
}

func number(value float64) string {
	if math.IsNaN(value) {
		return "-"
	}
	return fmt.Sprintf("%v", value)
}

// vector is a file and what it holds.
type vector struct {
	file     string
	fixes    []string
	rejected []string
	problem  string // part of the file's error
}

func check(t *testing.T, vectors map[string]vector) {
	t.Helper()
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := walk(strings.NewReader(v.file), "", "")
			require.NoError(t, err)
			require.Len(t, got.files, 1)
			assert.Equal(t, v.fixes, got.fixes)
			assert.Equal(t, v.rejected, got.rejected)
			problem := strings.Join(got.errors, "")
			if v.problem == "" {
				assert.Empty(t, problem)
			}
			assert.Contains(t, problem, v.problem)
		})
	}
}

func TestFile_KnowsItsFormatByBytesThenByNameAndType(t *testing.T) {
	t.Parallel()
	const csv, gpx = "time,lat,lon\n2026-07-14T10:00:00Z,46,7\n", `<gpx><trk><trkseg><trkpt lat="46" lon="7"><time>2026-07-14T10:00:00Z</time></trkpt></trkseg></trk></gpx>`
	for _, c := range []struct{ file, name, mediaType, problem string }{
		{file: csv},
		{file: csv, name: "wrong.gpx", mediaType: "application/gpx+xml"},
		{file: gpx, name: "wrong.igc"},
		{file: "\xef\xbb\xbf" + gpx},
		{file: "\xef\xbb\xbf" + csv},
		{file: "what\n", name: "a.igc", problem: "holds no fixes"},
		{file: "what\n", mediaType: "text/csv", problem: "must name the columns"},
		{file: "what\n", name: "a.GPX", problem: "breaks off"},
		{file: "what\n", problem: "none of IGC"},
		{file: "", problem: "none of IGC"},
		{file: "<html></html>", problem: "none of IGC"},
		{file: "\xff\xfe<\x00g\x00p\x00x\x00", name: "a.gpx", problem: "UTF-16"},
		{file: "<\x00g\x00p\x00x\x00", problem: "UTF-16"},
	} {
		got, err := walk(strings.NewReader(c.file), c.name, c.mediaType)
		require.NoError(t, err)
		if c.problem == "" {
			assert.Len(t, got.fixes, 1, c.file)
			assert.Empty(t, got.errors, c.file)
		} else {
			assert.Contains(t, strings.Join(got.errors, ""), c.problem, c.file)
		}
	}
}

// The error of a source and that of a sink are no fault of the file.
func TestFile_ReturnsTheErrorsOfSourceAndSink(t *testing.T) {
	t.Parallel()
	failure := errors.New("gone")
	for _, name := range []string{"a.igc", "a.gpx", "a.kml", "a.geojson", "a.csv", "a.ndjson"} {
		start := map[string]string{
			"a.igc": "AXYZ001\nHFDTE140726\n", "a.gpx": "<gpx><trk>", "a.kml": "<kml>",
			"a.geojson": `{"type":"FeatureCollection","features":[`, "a.csv": "time,lat,lon\n", "a.ndjson": "{\"lat\":1}\n{",
		}[name]
		_, err := walk(io.MultiReader(strings.NewReader(start), failing0{failure}), name, "")
		assert.ErrorIs(t, err, failure, name)
	}
	for name, file := range map[string]string{
		"IGC":  "AXYZ001\nHFDTE140726\nB1000004600000N00700000EA0000000000\n",
		"JSON": `{"type":"Feature","geometry":{"type":"Point","coordinates":[7,46]},"properties":{"time":1784023200}}`,
	} {
		err := Walk(strings.NewReader(file), "", "", limits, func(f *File) error {
			return f.Read(Sink{Fix: func(int, lane.Fix) error { return failure }, Reject: func(int, string, string) {}})
		})
		assert.ErrorIs(t, err, failure, name)
	}
}

type failing0 struct{ err error }

func (f failing0) Read([]byte) (int, error) { return 0, f.err }

func TestFlightID_IsTheNameOfTheFile(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 120)
	for name, want := range map[string]string{
		"": "", "/": "", "a.igc": "a", "a.IGC": "a", "day 1/Anna Müller.igc.gz": "Anna Müller", `C:\flights\b.gpx`: "b",
		"../../etc/passwd": "passwd", "2026.07.14.csv": "2026.07.14", "no-extension": "no-extension", "a\x00b\n.kml": "ab",
		"\xfcber.igc": "über",
	} {
		assert.Equal(t, want, FlightID(name), "%q", name)
	}
	cut := FlightID(long + ".igc")
	assert.Equal(t, maxID, len([]rune(cut)))
	assert.NotEqual(t, cut, FlightID(long+"2.igc"))
	at := time.Date(2026, 7, 14, 10, 15, 30, 0, time.UTC)
	assert.Equal(t, "anna-20260714-101530-XCT-12", RecordedID("anna", at, "XCT 12"))
	assert.Equal(t, "20260714-101530-XCT12", RecordedID("", at, "XCT12"))
	assert.Empty(t, RecordedID("", at, ""))
}
