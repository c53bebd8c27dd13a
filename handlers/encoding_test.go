package handlers

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"tracklane/internal/lane"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return compressed.String()
}

// zstdOf compresses a text, with the window that is asked for; 0 is that of its size.
func zstdOf(t *testing.T, text string, window int) string {
	t.Helper()
	var compressed bytes.Buffer
	options := []zstd.EOption{zstd.WithEncoderConcurrency(1)}
	if window > 0 {
		options = append(options, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
	}
	w, err := zstd.NewWriter(&compressed, options...)
	require.NoError(t, err)
	_, err = w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Flush()) // the frame does not say how large it is
	require.NoError(t, w.Close())
	return compressed.String()
}

func TestBodies_AreDecompressedUpToTheLanesLimit(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	s, url, pool := newTestServer(t, lanes)
	bomb := zipped(t, strings.Repeat(" ", int(lanes[0].MaxBody)+1))
	require.Less(t, len(bomb), 1<<20)
	truncated := zipped(t, ownTracksPoint)
	truncated = truncated[:len(truncated)-4]
	for name, c := range map[string]struct {
		path, encoding, body string
		want                 int
	}{
		"an app":                       {"/live/owntracks", "gzip", zipped(t, ownTracksPoint), http.StatusOK},
		"a lane":                       {"/live", "GZIP", zipped(t, padded("a", 10)), http.StatusCreated},
		"empty":                        {"/live/owntracks", "gzip", "", http.StatusOK},
		"bomb to an app":               {"/live/overland", "gzip", bomb, http.StatusRequestEntityTooLarge},
		"bomb to a lane":               {"/live", "gzip", bomb, http.StatusRequestEntityTooLarge},
		"not gzip":                     {"/live/owntracks", "gzip", ownTracksPoint, http.StatusBadRequest},
		"truncated":                    {"/live/owntracks", "gzip", truncated, http.StatusBadRequest},
		"unknown, to an app":           {"/live/owntracks", "br", ownTracksPoint, http.StatusUnsupportedMediaType},
		"unknown, to a lane":           {"/live", "br", padded("b", 10), http.StatusUnsupportedMediaType},
		"twice, to an app":             {"/live/overland", "gzip, gzip", zipped(t, overlandBatch), http.StatusUnsupportedMediaType},
		"zstd, to an app":              {"/live/owntracks", "zstd", zstdOf(t, ownTracksPoint, 0), http.StatusOK},
		"zstd, to a lane":              {"/live", "zstd", zstdOf(t, padded("c", 300_000), 0), http.StatusCreated},
		"its largest window":           {"/live", "ZSTD", zstdOf(t, padded("d", 300_000), maxWindow), http.StatusCreated},
		"a larger window":              {"/live", "zstd", zstdOf(t, padded("e", 10), 2*maxWindow), http.StatusUnsupportedMediaType},
		"a window in a second frame":   {"/live", "zstd", zstdOf(t, " ", 1<<20) + zstdOf(t, padded("f", 10), 2*maxWindow), http.StatusUnsupportedMediaType},
		"two frames":                   {"/live", "zstd", zstdOf(t, " ", 1<<20) + zstdOf(t, padded("g", 10), 1<<20), http.StatusCreated},
		"a large frame of one segment": {"/live", "zstd", "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00", http.StatusRequestEntityTooLarge},
		"zstd bomb to a lane":          {"/live", "zstd", zstdOf(t, strings.Repeat(" ", int(lanes[0].MaxBody)+1), 0), http.StatusRequestEntityTooLarge},
		"zstd, empty":                  {"/live/owntracks", "zstd", "", http.StatusOK},
		"not zstd":                     {"/live", "zstd", padded("h", 10), http.StatusBadRequest},
		"zstd, truncated":              {"/live", "zstd", zstdOf(t, padded("i", 10), 0)[:30], http.StatusBadRequest},
		"zstd in gzip":                 {"/live", "zstd, gzip", zipped(t, zstdOf(t, padded("j", 10), 0)), http.StatusUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, "POST", url+c.path, strings.NewReader(c.body), "Content-Type", "application/json", "Content-Encoding", c.encoding)
			assert.Equal(t, c.want, got.code, got.text)
		})
	}
	var points int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM live_track_points").Scan(&points))
	assert.Equal(t, 5, points)
	assertReleased(t, s.budget)
}

// dial connects to a server; the connection is closed when t ends.
func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // the test may have closed it
	return c
}

// Who sends the last bytes of compressed bodies late keeps no decompressor from others,
// whatever window he names.
func TestBodies_ThatAreSlowLetOthersDecompress(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	slow := zstdOf(t, padded("slow", 10), maxWindow)
	for i := range 60 {
		body, encoding := slow, "zstd"
		if i%4 > 0 {
			body, encoding = zipped(t, padded("slow", 10)), "gzip"
		}
		path := []string{"/live", "/scoring", "/live/owntracks"}[i%3]
		c := dial(t, base)
		_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", path, encoding, len(body), body[:len(body)-1])
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return s.underWay.Load() == 60 }, 20*time.Second, time.Millisecond)
	for _, path := range []string{"/live", "/upload"} {
		for _, window := range []int{0, 1 << 20, maxWindow} {
			got := send(t, http.MethodPost, base+path, strings.NewReader(zstdOf(t, padded("honest", 10), window)), "Content-Encoding", "zstd")
			assert.Equal(t, http.StatusCreated, got.code, got.text)
		}
	}
	assert.True(t, s.budget.unpackSmall.TryAcquire(smallUnpacking))
	assert.True(t, s.budget.unpackLarge.TryAcquire(largeUnpacking))
}

// Who fills the memory for windows waits for nobody's body.
func TestBodies_WaitForWindows(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	require.True(t, s.budget.unpackSmall.TryAcquire(smallUnpacking-1))
	waiting := make(chan response)
	go func() {
		waiting <- send(t, http.MethodPost, base+"/live", strings.NewReader(zstdOf(t, padded("a", 10), maxWindow)), "Content-Encoding", "zstd")
	}()
	require.Eventually(t, func() bool { // who does not wait gets nothing while others do
		if !s.budget.unpackSmall.TryAcquire(1) {
			return true
		}
		s.budget.unpackSmall.Release(1)
		return false
	}, 20*time.Second, time.Millisecond)
	s.budget.unpackSmall.Release(smallUnpacking - 1)
	assert.Equal(t, http.StatusCreated, (<-waiting).code)
}

// The files of one sender in zstd hold one window at the most, since it is held for as
// long as the sender takes.
func TestUpload_ShowsOneWindowToASender(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	igc := zstdOf(t, igcOf(5000), 1<<20) // there is room for several
	c := dial(t, base)
	_, err := fmt.Fprintf(c, "POST /upload?filename=a.igc HTTP/1.1\r\nHost: x\r\nContent-Encoding: zstd\r\nContent-Length: %d\r\n\r\n%s", len(igc), igc[:100])
	require.NoError(t, err)
	free := func() bool {
		if !s.budget.zstdOfFiles.TryAcquire(zstdOfFiles) {
			return false
		}
		s.budget.zstdOfFiles.Release(zstdOfFiles)
		return true
	}
	require.Eventually(t, func() bool { return !free() }, 20*time.Second, time.Millisecond)
	another := send(t, http.MethodPost, base+"/upload?filename=b.igc", strings.NewReader(igc), "Content-Encoding", "zstd")
	assert.Equal(t, http.StatusServiceUnavailable, another.code, another.text)
	inGzip := send(t, http.MethodPost, base+"/upload?filename=c.igc", strings.NewReader(gzipOf(t, igcOf(5000))), "Content-Encoding", "gzip")
	assert.Equal(t, http.StatusCreated, inGzip.code, inGzip.text)
	require.NoError(t, c.Close())
	require.Eventually(t, free, 20*time.Second, time.Millisecond)
	again := send(t, http.MethodPost, base+"/upload?filename=b.igc", strings.NewReader(igc), "Content-Encoding", "zstd")
	assert.Equal(t, http.StatusCreated, again.code, again.text)
}

// What a window takes is known before it is made, and refused when there is no room.
func TestDecompress_BoundsTheWindowsOfZstd(t *testing.T) { // alone: it measures the process
	for name, c := range map[string]struct{ window, limit, holds int }{
		"the largest":                    {maxWindow, 16 << 20, maxWindow},
		"what the body may be":           {1 << 20, 16 << 20, 1 << 20},
		"more than a body may be needs":  {maxWindow, 1 << 20, 1 << 20},
		"more than a small one may need": {maxWindow, 3 << 20, 4 << 20},
	} {
		memory := semaphore.NewWeighted(int64(2 * (c.holds + zstdMemory)))
		room := unpackingRoom{zstd: memory, decoders: new(decoders), window: maxWindow, limit: int64(c.limit)}
		request := httptest.NewRequest(http.MethodPost, "/", nil)
		request.Header.Set("Content-Encoding", "zstd")
		want := padded("a", 900_000)
		body := zstdOf(t, want, c.window)
		_, first, err := decompress(request, strings.NewReader(body), room)
		require.NoError(t, err, name)
		plain, second, err := decompress(request, strings.NewReader(body), room)
		require.NoError(t, err, name)
		_, _, err = decompress(request, strings.NewReader(body), room)
		require.ErrorIs(t, err, errBudget, name)
		var before, after runtime.MemStats
		text := make([]byte, len(want))
		runtime.ReadMemStats(&before)
		_, err = io.ReadFull(plain, text)
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		assert.Equal(t, want, string(text))
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(c.holds+zstdMemory), name)
		first()
		second()
	}
}

// Bodies that come one after another share a decoder, also after a broken one. The race
// detector makes a sync.Pool forget some of them.
func TestDecompress_MakesNoWindowForEachBody(t *testing.T) { // alone: it measures the process
	const bodies = 32
	room := unpackingRoom{zstd: semaphore.NewWeighted(maxWindow + zstdMemory), decoders: new(decoders), window: maxWindow, limit: 16 << 20}
	want := padded("one after another", 300_000)
	body := zstdOf(t, want, maxWindow)
	request := httptest.NewRequest(http.MethodPost, "/upload", nil)
	request.Header.Set("Content-Encoding", "zstd")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range bodies {
		broken := n%4 == 1
		sent := body
		if broken {
			sent = body[:len(body)/2]
		}
		plain, done, err := decompress(request, strings.NewReader(sent), room)
		require.NoError(t, err)
		text, err := io.ReadAll(plain)
		if broken {
			require.Error(t, err)
		} else {
			require.NoError(t, err)
			require.Equal(t, want, string(text))
		}
		done()
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(bodies*maxWindow*3/4))
}

func TestFlymaster_AcceptsAField(t *testing.T) {
	t.Parallel()
	_, address, pool := newTestServer(t, lane.All(lane.Options{FlymasterSecret: "s"}))
	file := func(serial int64) string {
		return fmt.Sprintf("%d, %s\r\n1784024135,1784024130,46.68605,7.86372,1954,10.4,211\r\nEOF\r\n", serial, lane.FlymasterKey(serial, "s"))
	}
	form := func(name string, serial int64) string {
		return url.Values{"a": {"1&2"}, name: {file(serial)}, "z": {"3"}}.Encode()
	}
	for name, c := range map[string]struct {
		body, encoding string
		code           int
	}{
		"data":                    {form("data", 1), "", 201},
		"file":                    {form("file", 2), "", 201},
		"gzip":                    {zipped(t, form("data", 3)), "gzip", 201},
		"a raw file":              {file(4), "", 201},
		"a key that is wrong":     {strings.Replace(form("data", 5), "data=5", "data=6", 1), "", 403},
		"no such field":           {"a=1&dat=2", "", 400},
		"too much before it":      {"a=" + strings.Repeat("x", maxBeforeFile) + "&" + form("data", 7), "", 400},
		"an escape that is none":  {strings.Replace(form("data", 8), "%0D", "%0", 1), "", 400},
		"an escape that ends":     {strings.TrimSuffix(url.Values{"data": {file(9)}}.Encode(), "0A"), "", 400},
		"a field that breaks off": {form("data", 10)[:60], "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, http.MethodPost, address+"/flymaster", strings.NewReader(c.body),
				"Content-Type", "application/x-www-form-urlencoded", "Content-Encoding", c.encoding)
			assert.Equal(t, c.code, got.code, got.text)
		})
	}
	var devices []int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT array_agg(device_id ORDER BY device_id) FROM flymaster").Scan(&devices))
	assert.Equal(t, []int64{1, 2, 3, 4}, devices)
}
