package handlers

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// igcOf is an IGC file of n fixes, a second apart.
func igcOf(n int) string {
	var file strings.Builder
	file.WriteString("AXYZ042\r\nHFDTE140726\r\nHFPLTPILOT:Anna\r\n")
	for i := range n {
		fmt.Fprintf(&file, "B%02d%02d%02d4630000N00715000EA0120001234\r\n", i/3600%24, i/60%60, i%60)
	}
	return file.String()
}

const gpxOfTwo = `<gpx><trk><trkpt lat="46.5" lon="7.25"><time>2026-07-14T10:15:30Z</time></trkpt><trkpt lat="46.5" lon="7.25"/>
	<trkpt lat="46.5" lon="7.25"><time>2026-07-14T10:15:31Z</time></trkpt></trk></gpx>`

func zipOf(t *testing.T, files ...string) string {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for i := 0; i < len(files); i += 2 {
		out, err := w.Create(files[i])
		require.NoError(t, err)
		_, err = io.WriteString(out, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return archive.String()
}

func gzipOf(t *testing.T, text string) string {
	t.Helper()
	var file bytes.Buffer
	w := gzip.NewWriter(&file)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return file.String()
}

func formOf(t *testing.T, files ...string) (contentType, body string) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	require.NoError(t, w.WriteField("comment", "mine"))
	for i := 0; i < len(files); i += 2 {
		part, err := w.CreateFormFile("flights", files[i])
		require.NoError(t, err)
		_, err = io.WriteString(part, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), form.String()
}

func TestUpload_StoresFiles(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	form, formBody := formOf(t, "a.igc", igcOf(1200), "b.gpx", gpxOfTwo)
	const octets = "application/octet-stream"
	for name, c := range map[string]struct {
		path, contentType, body string
		header                  []string
		points                  int
		flights                 string // of the response
	}{
		"a raw file, its name in the address": {path: "?filename=f1.igc", contentType: "application/vnd.fai.igc", body: igcOf(10), points: 10, flights: "f1"},
		"its name in a header":                {contentType: octets, body: igcOf(10), header: []string{"Content-Disposition", `attachment; filename="f2.igc"`}, points: 10, flights: "f2"},
		"an id in the address":                {path: "?flight_id=f3&filename=x.igc", contentType: octets, body: igcOf(10), points: 10, flights: "f3"},
		"no name":                             {contentType: octets, body: igcOf(10), points: 10, flights: "Anna-20260714-000000-XYZ042"},
		"no type":                             {path: "?flight_id=f4", body: igcOf(10), points: 10, flights: "f4"},
		"gzip":                                {path: "?filename=f5.gpx.gz", contentType: "application/gzip", body: gzipOf(t, gpxOfTwo), points: 2, flights: "f5"},
		"gzip as an encoding":                 {path: "?filename=f6.gpx", contentType: "application/gpx+xml", body: gzipOf(t, gpxOfTwo), header: []string{"Content-Encoding", "gzip"}, points: 2, flights: "f6"},
		"what curl says of any file":          {path: "?filename=f7.igc", contentType: "application/x-www-form-urlencoded", body: igcOf(1000), points: 1000, flights: "f7"},
		"a form":                              {contentType: form, body: formBody, points: 1202, flights: "a b"},
		"a zip":                               {contentType: "application/zip", body: zipOf(t, "x/c.igc", igcOf(3), "readme.md", "hello", "y/c.igc", igcOf(4)), points: 7, flights: "c  y-c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := c.header
			if c.contentType != "" {
				header = append(header, "Content-Type", c.contentType)
			}
			got := send(t, http.MethodPost, url+"/upload"+c.path, strings.NewReader(c.body), header...)
			require.Equal(t, 201, got.code, got.text)
			var response uploadResponse
			require.NoError(t, json.Unmarshal([]byte(got.text), &response))
			assert.Equal(t, c.points, response.Points)
			assert.Equal(t, c.points, *response.Inserted+*response.Duplicates)
			flights := []string{response.FlightID}
			if response.Files != nil {
				flights = nil
				for _, f := range response.Files {
					flights = append(flights, f.FlightID)
				}
			}
			assert.Equal(t, c.flights, strings.Join(flights, " "))
			var rows int
			ids := strings.Fields(strings.Join(flights, " "))
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM uploaded_track_points WHERE flight_id = ANY($1)`, ids).Scan(&rows))
			assert.Equal(t, c.points, rows)
		})
	}
}

func TestUpload_StoresWhatAFixSays(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	file := igcOf(1) + "I033637LAD3839LOD4042TDS\nB1015304630000N00715000EV01200012341234567\n"
	got := send(t, http.MethodPost, url+"/upload?filename=f.igc&pilot_id=anna&race_id=cup", strings.NewReader(file), "Content-Type", "text/plain")
	require.Equal(t, 201, got.code, got.text)
	type row struct {
		Datetime                       time.Time
		Lat, Lon                       float64
		Elevation, Barometric_altitude *float64
		Device_id, Pilot_id, Race_id   string
	}
	rows, err := pool.Query(t.Context(), `SELECT datetime, lat, lon, elevation, barometric_altitude, device_id, pilot_id, race_id
		FROM uploaded_track_points ORDER BY datetime DESC LIMIT 1`)
	require.NoError(t, err)
	stored, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	require.NoError(t, err)
	stored.Datetime = stored.Datetime.UTC()
	assert.Equal(t, row{
		Datetime: time.Date(2026, 7, 14, 10, 15, 30, 567e6, time.UTC), Lat: 279000012. / 6e6, Lon: 43500034. / 6e6,
		Barometric_altitude: new(1200.), Device_id: "XYZ042", Pilot_id: "anna", Race_id: "cup",
	}, stored)
}

func TestUpload_RefusesFilesWithAReason(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	form, formBody := formOf(t, "a.igc", "AXYZ\n", "b.txt", "hello")
	bomb := gzipOf(t, "AXYZ042\nHFDTE140726\n"+strings.Repeat("\n", 64<<20))
	for name, c := range map[string]struct {
		code                          int
		path, contentType, body, want string
	}{
		"a line without times":   {422, "?filename=a.kml", "", `<kml><LineString><coordinates>1,2</coordinates></LineString></kml>`, "lines without times"},
		"points without times":   {422, "?filename=a.gpx", "application/gpx+xml", `<gpx><trkpt lat="1" lon="2"/></gpx>`, "No point of the file has a time"},
		"a file without a date":  {422, "?filename=a.igc", "", "AXYZ042\nB1015304630000N00715000EA0120001234\n", "no date"},
		"points of the future":   {422, "?filename=a.igc", "", strings.Replace(igcOf(1), "0726", "0790", 1), "24 hours ahead"},
		"no name":                {422, "", "text/csv", "time,lat,lon\n1784024130,1,2\n", "flight_id"},
		"an id that is too long": {422, "?flight_id=" + strings.Repeat("x", 101), "text/csv", "time,lat,lon\n1784024130,1,2\n", "flight_id must be at most"},
		"no XML":                 {400, "?filename=a.gpx", "text/xml", "<gpx><a", "breaks off"},
		"a format of nobody":     {415, "?filename=a.bin", "application/octet-stream", "\x00\x01\x02", "none of IGC"},
		"a picture":              {415, "?filename=a.png", "image/png", "\x89PNG", "IGC"},
		"another encoding":       {415, "", "image/png", "\x89PNG", "IGC"},
		"UTF-16":                 {400, "?filename=a.gpx", "application/gpx+xml", "\xff\xfe<\x00g\x00", "UTF-16"},
		"a bomb":                 {413, "?filename=a.igc.gz", "application/gzip", bomb, "too large"},
		"nested zips":            {400, "?filename=a.zip", "application/zip", zipOf(t, "b.zip", zipOf(t, "a.igc", igcOf(1))), "must not hold another"},
		"an empty zip":           {422, "?filename=a.zip", "application/zip", zipOf(t), "no points"},
		"a form of no flights":   {422, "", form, formBody, "b.txt: "},
		"half a form":            {400, "", form, formBody[:len(formBody)/2], "ended before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url+"/upload"+c.path, strings.NewReader(c.body), "Content-Type", c.contentType)
			assert.Equal(t, c.code, got.code, got.text)
			assert.Contains(t, got.text, c.want)
			assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
		})
	}
	t.Cleanup(func() {
		var rows int
		assert.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM uploaded_track_points`).Scan(&rows))
		assert.Zero(t, rows)
	})
}

// A file that breaks off is kept as far as it goes, and the response says so.
func TestUpload_NamesWhatIsMissingOfAFile(t *testing.T) {
	t.Parallel()
	_, url, _ := newTestServer(t, lane.All(lane.Options{}))
	got := send(t, http.MethodPost, url+"/upload?filename=a.gpx", strings.NewReader(strings.TrimSuffix(gpxOfTwo, "</trk></gpx>")), "Content-Type", "application/gpx+xml")
	assert.Equal(t, 201, got.code)
	assert.JSONEq(t, `{"status":"stored","points":2,"inserted":2,"duplicates":0,"flight_id":"a","rejected_total":2,"rejected":[
		{"index":1,"field":"datetime","error":"is missing"},
		{"index":0,"field":"file","error":"The file breaks off before its end; send the whole file again."}]}`, got.text)
}

// endless is an IGC file of so many bytes, of one fix after another.
type endless struct{ left, second int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	var text []byte
	if e.second == 0 {
		text = []byte("AXYZ042\nHFDTE010726\n")
	}
	for len(text)+40 < len(p) {
		s := e.second
		text = fmt.Appendf(text, "B%02d%02d%02d46%05dN00715000EA0120001234\n", s/3600%24, s/60%60, s%60, s/86400)
		e.second++
	}
	e.left -= len(text)
	return copy(p, text), nil
}

// The rate at which large bodies are read makes 12 MB take more than a second; the memory
// does not depend on it.
func TestUpload_OfALargeFileTakesLittleMemory(t *testing.T) {
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan response)
	source := &endless{left: 12 << 20}
	go func() {
		done <- send(t, http.MethodPost, url+"/upload?filename=large.igc", source, "Content-Type", "application/vnd.fai.igc")
	}()
	var most uint64
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case got := <-done:
			require.Equal(t, 201, got.code, got.text)
			var rows int
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM uploaded_track_points`).Scan(&rows))
			assert.Equal(t, source.second, rows)
			assert.Less(t, most, uint64(64<<20))
			return
		case <-ticker.C:
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse-min(now.HeapInuse, before.HeapInuse))
		}
	}
}

// What files keep while they come in slowly is their own share of the memory, and a
// sender has four of their places.
func TestUpload_SlowFilesHoldNobodyElseUp(t *testing.T) {
	t.Parallel()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	var sending sync.WaitGroup
	var ends []*io.PipeWriter
	for range maxSenderUploads {
		body, end := io.Pipe()
		t.Cleanup(func() { _ = end.Close() }) // the server waits for it when the test has failed
		ends = append(ends, end)
		sending.Go(func() {
			got := send(t, http.MethodPost, url+"/upload?filename=a.geojson", body, "Content-Type", "application/geo+json")
			assert.Equal(t, http.StatusBadRequest, got.code, got.text) // not all came
		})
		_, err := io.WriteString(end, `{"type":"FeatureCollection","features":[`+strings.Repeat(" ", 8<<10)) // more than tells the format
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		s.uploadShares.mu.Lock()
		defer s.uploadShares.mu.Unlock()
		return slices.Equal(slices.Collect(maps.Values(s.uploadShares.held)), []int{maxSenderUploads})
	}, 10*time.Second, time.Millisecond, "each has its place")
	require.Eventually(t, func() bool {
		free := s.budget.held.TryAcquire(heldBudget)
		if free {
			s.budget.held.Release(heldBudget)
		}
		return !free
	}, 10*time.Second, time.Millisecond, "they keep something")
	fifth := func() response {
		return send(t, http.MethodPost, url+"/upload?filename=b.igc", strings.NewReader(igcOf(1)), "Content-Type", "application/vnd.fai.igc")
	}
	require.Eventually(t, func() bool { return fifth().code == http.StatusServiceUnavailable }, 10*time.Second, time.Millisecond)
	for size := freeBody * 2; size <= 2*largeBody; size *= 4 {
		got := send(t, http.MethodPost, url+"/upload", strings.NewReader(padded("f", size)), "Content-Type", "application/json")
		assert.Equal(t, http.StatusCreated, got.code, "%d bytes: %s", size, got.text)
	}
	assertReleased(t, s.budget)
	for _, end := range ends {
		require.NoError(t, end.Close())
	}
	sending.Wait()
}

func TestUploadReader_EndsAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &uploadReader{
			source: iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 10*uploadStep))), end: time.Now().Add(uploadTime),
			pacing: &pacing{ctx: t.Context(), budget: newBudget()}, controller: http.NewResponseController(httptest.NewRecorder()),
		}
		buffer, read := make([]byte, 1), 0
		for {
			n, err := r.Read(buffer)
			read += n
			if err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				break
			}
			if read%uploadStep == 0 {
				time.Sleep(uploadTime/4 + time.Second) // of the bubble's clock
			}
		}
		assert.Equal(t, 4*uploadStep, read)
	})
}
