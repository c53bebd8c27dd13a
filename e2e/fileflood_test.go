package e2e

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// fileFloods are those of files of flights and of compressed bodies. Their bodies take
// seconds to make.
func (s *abusedServer) fileFloods(t *testing.T) []flood {
	const json, large = "application/json", 15 << 20
	igc := []byte(igcOf(80_000))
	many := zipOf(t, 1000, []byte(igcOf(1000)))
	geoJSON := list(`{"type":"FeatureCollection","features":[`, `{"type":"Feature","geometry":{"type":"Point","coordinates":[7.8637234,46.6860512,1954.5]},"properties":{"time":"2026-07-14T11:00:00Z"}},`, `]}`, large)
	points := list(`{"tracks":[`, `{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3},`, `]}`, 60<<10)
	usual := list(`{"tracks":[`, `{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3},`, `]}`, large)
	bomb := append([]byte(`{"tracks":[`), bytes.Repeat([]byte(" "), 256<<20)...)
	upload := s.post("/upload?filename=a.igc", "application/octet-stream", igc)
	late := func(request []byte) []byte { return request[:len(request)-1] }
	inGzip := s.encoded("/upload", "application/octet-stream", "gzip", gzipOf(t, igc))
	inZstd := s.encoded("/upload", "application/octet-stream", "zstd", zstdOf(t, igc))
	return []flood{
		{name: "IGC files", clients: 24, perAddress: 4, request: upload},
		{name: "IGC files that end late", clients: 500, perAddress: 4, hold: true, request: late(upload)},
		{name: "GeoJSON files", clients: 24, perAddress: 4, request: s.post("/upload?flight_id=a", json, geoJSON)},
		{name: "zip files of many", clients: 24, perAddress: 4, request: s.post("/upload", "application/zip", many)},
		{name: "zip bombs", clients: 24, perAddress: 4, request: s.post("/upload", "application/zip", zipOf(t, 1, bomb))},
		{name: "files in gzip", clients: 24, perAddress: 4, request: inGzip},
		{name: "files in gzip that end late", clients: 2000, perAddress: 4, hold: true, request: late(inGzip)},
		{name: "files in zstd that end late", clients: 2000, perAddress: 4, hold: true, request: late(inZstd)},
		{name: "bodies in gzip", clients: 500, request: s.encoded("/scoring", json, "gzip", gzipOf(t, points))},
		{name: "large bodies in gzip", clients: 500, request: s.encoded("/scoring", json, "gzip", gzipOf(t, usual))},
		{name: "bombs in gzip", clients: 500, request: s.encoded("/scoring", json, "gzip", gzipOf(t, bomb))},
		{name: "bombs in gzip to upload", clients: 500, request: s.encoded("/upload", "", "gzip", gzipOf(t, bomb))},
		{name: "bodies in zstd", clients: 500, request: s.encoded("/scoring", json, "zstd", zstdOf(t, points))},
		{name: "bodies in gzip that end late", clients: 4000, perAddress: 490, hold: true, request: late(s.encoded("/scoring", json, "gzip", gzipOf(t, points)))},
		{name: "bodies in zstd that end late", clients: 4000, perAddress: 490, hold: true, request: late(s.encoded("/scoring", json, "zstd", zstdOf(t, points)))},
		{name: "large bodies in gzip that end late", clients: 4000, perAddress: 490, hold: true, request: late(s.encoded("/upload", json, "gzip", gzipOf(t, usual)))},
		{name: "bombs in zstd", clients: 500, request: s.encoded("/scoring", json, "zstd", zstdOf(t, bomb))},
		{name: "bombs in zstd to upload", clients: 500, request: s.encoded("/upload", "", "zstd", zstdOf(t, bomb))},
	}
}

// encoded is a whole request with a compressed body.
func (s *abusedServer) encoded(path, contentType, encoding string, body []byte) []byte {
	head := fmt.Sprintf("Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n", encoding, len(body))
	if contentType != "" {
		head = fmt.Sprintf("Content-Type: %s\r\n%s", contentType, head)
	}
	return append(s.head(path, head), body...)
}

// zipOf is a zip file of n files with the same content.
func zipOf(t *testing.T, n int, content []byte) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for i := range n {
		out, err := w.Create(fmt.Sprint("day/", i, ".igc"))
		require.NoError(t, err)
		_, err = out.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return archive.Bytes()
}

func gzipOf(t *testing.T, plain []byte) []byte {
	t.Helper()
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	_, err := w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return body.Bytes()
}

// zstdOf compresses with the largest window that is accepted.
func zstdOf(t *testing.T, plain []byte) []byte {
	t.Helper()
	var body bytes.Buffer
	w, err := zstd.NewWriter(&body, zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return body.Bytes()
}
