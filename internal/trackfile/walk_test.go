package trackfile

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

const oneFix = "AXYZ042\nHFDTE140726\nB1015304630000N00715000EA0120001234\n"

type entry struct {
	name, text string
	stored     bool
}

// zipOf makes a zip file as archive/zip does, with sizes behind the contents, or, of
// stored ones, before.
func zipOf(t testing.TB, entries ...entry) string {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		var out io.Writer
		var err error
		if e.stored {
			header.Method, header.UncompressedSize64, header.CompressedSize64 = zip.Store, uint64(len(e.text)), uint64(len(e.text))
			header.CRC32 = crcOf(e.text)
			out, err = w.CreateRaw(header)
		} else {
			out, err = w.CreateHeader(header)
		}
		require.NoError(t, err)
		_, err = io.WriteString(out, e.text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return archive.String()
}

func gzipOf(t testing.TB, text string) string {
	t.Helper()
	var file bytes.Buffer
	w := gzip.NewWriter(&file)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return file.String()
}

func names(c contents) []string {
	var list []string
	for _, f := range c.files {
		list = append(list, f.Name)
	}
	return list
}

func TestWalk_VisitsTheFilesOfContainers(t *testing.T) {
	t.Parallel()
	const kml = `<kml><Placemark><TimeStamp><when>2026-07-14T10:15:30Z</when></TimeStamp><Point><coordinates>7,46</coordinates></Point></Placemark></kml>`
	kmz := zipOf(t, entry{name: "doc.kml", text: kml}, entry{name: "files/a.png", text: "\x89PNG", stored: true})
	for name, c := range map[string]struct {
		file, name string
		names      []string
		fixes      int
	}{
		"itself":         {oneFix, "a.igc", []string{"a.igc"}, 1},
		"gzip":           {gzipOf(t, oneFix), "a.igc.gz", []string{"a.igc"}, 1},
		"a gzip in gzip": {gzipOf(t, gzipOf(t, oneFix)), "a.igc.gz.gz", []string{"a.igc"}, 1},
		"a KMZ":          {kmz, "flight.kmz", []string{"flight.kmz"}, 1},
		"a zip": {
			zipOf(t, entry{name: "day/"}, entry{name: "day/a.igc", text: oneFix}, entry{name: "__MACOSX/day/._a.igc", text: "x"},
				entry{name: "../../b.igc", text: oneFix, stored: true}, entry{name: "day/c.igc.gz", text: gzipOf(t, oneFix)},
				entry{name: "d.kmz", text: kmz, stored: true}, entry{name: "readme.md", text: "hello"}, entry{name: "empty.igc"}),
			"flights.zip", []string{"day/a.igc", "../../b.igc", "day/c.igc", "d.kmz", "readme.md", "empty.igc"}, 4,
		},
		"an empty zip": {zipOf(t), "a.zip", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := walk(strings.NewReader(c.file), c.name, "")
			require.NoError(t, err)
			assert.Equal(t, c.names, names(got))
			assert.Len(t, got.fixes, c.fixes)
		})
	}
}

func TestWalk_RefusesContainersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	inner := zipOf(t, entry{name: "a.igc", text: oneFix})
	damaged := []byte(zipOf(t, entry{name: "a.igc", text: oneFix, stored: true}, entry{name: "b.igc", text: oneFix}))
	damaged[40] ^= 1 // of the first one's content
	good := zipOf(t, entry{name: "a.igc", text: oneFix}, entry{name: "b.igc", text: strings.Repeat(oneFix, 1000)})
	for name, c := range map[string]struct {
		file    string
		fixes   int
		problem string // of the whole, or of a file
	}{
		"a zip in a zip, without the rest": {zipOf(t, entry{name: "x.zip", text: inner}, entry{name: "b.igc", text: oneFix}), 1, "must not hold another one"},
		"a damaged file, without the rest": {string(damaged), 1, "checksum"},
		"half of a zip":                    {good[:len(good)/2], 1, "breaks off"},
		"half of a gzip":                   {gzipOf(t, oneFix)[:40], 0, "breaks off"},
		"gzip thrice":                      {gzipOf(t, gzipOf(t, gzipOf(t, oneFix))), 0, "several times"},
		"a damaged gzip":                   {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\xff\xff", 0, "damaged"},
		"no zip":                           {"PK\x03\x04" + strings.Repeat("x", 100), 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := walk(strings.NewReader(c.file), "", "")
			var format *FormatError
			if err != nil {
				require.ErrorAs(t, err, &format)
				got.errors = append(got.errors, format.Reason)
			}
			assert.NotEmpty(t, got.errors)
			assert.Contains(t, strings.Join(got.errors, " "), c.problem)
			assert.GreaterOrEqual(t, len(got.fixes), c.fixes)
		})
	}
}

func TestWalk_BoundsWhatCompressedFilesBecome(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("\n", 16<<20)
	many := make([]entry, limits.Files+1)
	for i := range many {
		many[i] = entry{name: fmt.Sprint(i, ".igc"), text: oneFix}
	}
	for name, file := range map[string]string{
		"gzip": gzipOf(t, zeros), "zip": zipOf(t, entry{name: "a.igc", text: zeros}), "gzip in zip": zipOf(t, entry{name: "a.igc", text: gzipOf(t, zeros)}),
		"a file that is not read": zipOf(t, entry{name: ".x", text: zeros}),
		"files":                   zipOf(t, many...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := walk(strings.NewReader(file), "a.igc", "")
			require.ErrorIs(t, err, ErrLimits)
		})
	}
	failure := errors.New("stop")
	paced := limits
	paced.Pace = func(int) error { return failure }
	err := Walk(strings.NewReader(gzipOf(t, oneFix)), "", "", paced, func(f *File) error { return f.Read(Sink{Fix: func(int, lane.Fix) error { return nil }}) })
	assert.ErrorIs(t, err, failure)
}

func crcOf(text string) uint32 { return crc32.ChecksumIEEE([]byte(text)) }
