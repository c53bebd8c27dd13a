package handlers

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestUpload_BoundsPointsAndTexts(t *testing.T) {
	t.Parallel()
	s, address, pool := newTestServer(t, lane.All(lane.Options{}))
	s.uploadBounds = uploadBounds{points: 2500, stored: 500_000}
	long := url.QueryEscape(strings.Repeat("ü", 100))
	for name, c := range map[string]struct {
		query        string
		fixes        int
		code, points int
	}{
		"as many as may be":   {"?flight_id=a", 2500, 201, 2500},
		"one more":            {"?flight_id=b", 2501, 201, 2000},
		"long texts":          {"?flight_id=c&pilot_id=" + long + "&race_id=" + long, 900, 201, 900},
		"long texts of more":  {"?flight_id=d&pilot_id=" + long + "&race_id=" + long, 1900, 413, 0},
		"more, from the file": {"?flight_id=e&pilot_id=" + long + "&race_id=" + long + "&device_id=" + long, 1900, 413, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, http.MethodPost, address+"/upload"+c.query, strings.NewReader(igcOf(c.fixes)), "Content-Type", "application/vnd.fai.igc")
			require.Equal(t, c.code, got.code, got.text)
			if c.points < c.fixes {
				assert.Contains(t, got.text, "must not hold more than 2500 points")
			}
			var rows int
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM uploaded_track_points WHERE flight_id = left(split_part($1, '=', 2), 1)`, c.query).Scan(&rows))
			assert.Equal(t, c.points, rows)
		})
	}
}

// A thousand files with the longest names, whose every line is refused, are named in a
// response that takes no more than an upload may.
func TestUpload_BoundsItsResponse(t *testing.T) {
	t.Parallel()
	_, address, _ := newTestServer(t, lane.All(lane.Options{}))
	var files []string
	bad := "HFDTE140726\n" + strings.Repeat("B2415304630000N00715000EA0120001234\n", 12)
	for i := range maxFiles - 1 {
		files = append(files, fmt.Sprintf("%s%04d.igc", strings.Repeat("\x01", 4000), i), bad)
	}
	got := send(t, http.MethodPost, address+"/upload", strings.NewReader(zipOf(t, append(files, "good.igc", igcOf(1))...)), "Content-Type", "application/zip")
	require.Equal(t, 201, got.code)
	assert.Less(t, len(got.text), uploadMemory)
	var response uploadResponse
	require.NoError(t, json.Unmarshal([]byte(got.text), &response))
	require.Len(t, response.Files, maxFiles)
	assert.Equal(t, 12*(maxFiles-1), response.RejectedTotal)
	assert.Len(t, response.Files[0].Rejected, rejectionsPerFile)
	assert.Len(t, response.Files[maxFiles-2].Rejected, 1)
	assert.True(t, strings.HasSuffix(response.Files[maxFiles-2].Name, "0998.igc"))
}

// Who may not post is told so before a byte of the body is awaited.
func TestUpload_ChecksTheTokenBeforeTheBody(t *testing.T) {
	t.Parallel()
	base, _ := lockedServer(t, lane.Options{})
	address, err := url.Parse(base)
	require.NoError(t, err)
	for _, header := range []string{"", "Content-Type: application/json\r\n", "Content-Encoding: gzip\r\n", "Content-Encoding: zstd\r\n"} {
		connection, err := net.Dial("tcp", address.Host)
		require.NoError(t, err)
		defer connection.Close()
		require.NoError(t, connection.SetDeadline(time.Now().Add(30*time.Second)))
		_, err = io.WriteString(connection, "POST /upload HTTP/1.1\r\nHost: x\r\n"+header+"Content-Length: 1000000\r\n\r\n")
		require.NoError(t, err)
		status := make([]byte, len("HTTP/1.1 401"))
		_, err = io.ReadFull(connection, status)
		require.NoError(t, err)
		assert.Equal(t, "HTTP/1.1 401", string(status), header)
	}
}

func TestUpload_KnowsJSONByItsBytes(t *testing.T) {
	t.Parallel()
	_, address, _ := newTestServer(t, lane.All(lane.Options{}))
	const geo = `{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"time":1784024130},"geometry":{"type":"Point","coordinates":[7,46]}}]}`
	const lines = `{"time":1784024130,"lat":46,"lon":7}` + "\n" + `{"time":1784024131,"lat":46,"lon":7}` + "\n"
	own := onePoint(`"type":"x","name":"` + strings.Repeat("x", 2*sniffed) + `",`)
	for name, c := range map[string]struct {
		contentType, encoding, body string
		want                        string
	}{
		"GeoJSON":             {"application/json", "", geo, `"flight_id":"f.x"`},
		"GeoJSON in gzip":     {"application/json; charset=utf-8", "gzip", gzipOf(t, geo), `"flight_id":"f.x"`},
		"GeoJSON in zstd":     {"application/json", "zstd", zstdOf(t, geo, 0), `"flight_id":"f.x"`},
		"GeoJSON of no type":  {"", "", "\xef\xbb\xbf\n" + geo, `"flight_id":"f.x"`},
		"NDJSON":              {"application/json", "", lines, `"points":2`},
		"NDJSON of no type":   {"", "", lines, `"points":2`},
		"CSV of no type":      {"", "", "time,lat,lon\n1784024130,46,7\n", `"flight_id":"f.x"`},
		"our own":             {"application/json", "", own, `{"status":"stored","points":1,`},
		"our own in gzip":     {"text/json", "gzip", gzipOf(t, own), `{"status":"stored","points":1,`},
		"our own in zstd":     {"", "zstd", zstdOf(t, own, 0), `{"status":"stored","points":1,`},
		"our own, like a map": {"application/json", "", strings.Replace(onePoint(""), `{`, `{"type":"Feature","geometry":null,`, 1), `{"status":"stored","points":1,`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.contentType == "text/json" { // of no lane
				c.contentType = "application/json"
			}
			got := send(t, http.MethodPost, address+"/upload?filename=f.x", strings.NewReader(c.body), "Content-Type", c.contentType, "Content-Encoding", c.encoding)
			assert.Equal(t, 201, got.code, got.text)
			assert.Contains(t, got.text, c.want)
		})
	}
}

func TestUpload_DecompressesFilesAndForms(t *testing.T) {
	t.Parallel()
	s, address, _ := newTestServer(t, lane.All(lane.Options{}))
	form, formBody := formOf(t, "a.igc", igcOf(1200), "b.gpx", gpxOfTwo)
	const igc = "application/vnd.fai.igc"
	bomb := "AXYZ042\nHFDTE140726\n" + strings.Repeat("\n", 64<<20)
	for name, c := range map[string]struct {
		contentType, encoding, body string
		code                        int
		want                        string
	}{
		"a form in gzip":       {form, "gzip", gzipOf(t, formBody), 201, `"points":1202`},
		"a form in zstd":       {form, "zstd", zstdOf(t, formBody, 0), 201, `"points":1202`},
		"a file in zstd":       {igc, "zstd", zstdOf(t, igcOf(5000), 0), 201, `"points":5000`},
		"gzip in zstd":         {igc, "zstd", zstdOf(t, gzipOf(t, igcOf(5000)), 0), 201, `"points":5000`},
		"a bomb in gzip":       {igc, "gzip", gzipOf(t, bomb), 413, "too large"},
		"a bomb in zstd":       {igc, "zstd", zstdOf(t, bomb, 0), 413, "too large"},
		"half of zstd":         {igc, "zstd", zstdOf(t, igcOf(5000), 0)[:2000], 400, "ended before"},
		"no gzip":              {form, "gzip", formBody, 400, "ended before"},
		"no zstd":              {igc, "zstd", igcOf(1), 400, "ended before"},
		"another encoding":     {igc, "br", igcOf(1), 415, "gzip or zstd"},
		"a window that is not": {igc, "zstd", zstdOf(t, igcOf(1), 2*maxWindow), 415, "window"},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, http.MethodPost, address+"/upload?filename=f.igc", strings.NewReader(c.body), "Content-Type", c.contentType, "Content-Encoding", c.encoding)
			assert.Equal(t, c.code, got.code, got.text)
			assert.Contains(t, got.text, c.want)
		})
	}
	assertReleased(t, s.budget)
	assert.True(t, s.uploads.TryAcquire(maxUploads))
}

// Different files of one name are different flights, and the same ones when they are
// sent again.
func TestUpload_KeepsFilesOfOneNameApart(t *testing.T) {
	t.Parallel()
	_, address, pool := newTestServer(t, lane.All(lane.Options{}))
	of := func(day int) string { return strings.Replace(igcOf(3), "HFDTE14", fmt.Sprintf("HFDTE%02d", day), 1) }
	zip := func(day int) string {
		return zipOf(t, "day/c.igc", of(day), "x/day/c.igc", of(day+1), "y/day/c.igc", of(day+2))
	}
	form, body := formOf(t, "1.zip", zip(10), "2.zip", zip(20), "c.igc", of(1), "c.igc", of(2), "c.igc", of(1))
	var first string
	for range 2 {
		got := send(t, http.MethodPost, address+"/upload", strings.NewReader(body), "Content-Type", form)
		require.Equal(t, 201, got.code, got.text)
		var response uploadResponse
		require.NoError(t, json.Unmarshal([]byte(got.text), &response))
		var ids []string
		for _, f := range response.Files {
			ids = append(ids, f.FlightID)
		}
		joined := strings.Join(ids, " ")
		if first == "" {
			first = joined
		}
		assert.Equal(t, first, joined)
		assert.Equal(t, []string{"c", "day-c", "y-day-c"}, ids[:3])
		assert.NotEqual(t, ids[6], ids[7])
		assert.Equal(t, ids[6], ids[8], "the same file")
		var flights, rows int
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(DISTINCT flight_id), count(*) FROM uploaded_track_points`).Scan(&flights, &rows))
		assert.Equal(t, 8, flights)
		assert.Equal(t, 8*3, rows)
	}
}
