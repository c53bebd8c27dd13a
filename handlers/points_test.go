package handlers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestServer_RefusesABadBodyWithAProblem(t *testing.T) {
	t.Parallel()
	s, base, pool := newTestServer(t, lane.All(lane.Options{}))
	form := func(part string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + part + "\"\r\n\r\n12345,0\nEOF\n\r\n--b--\r\n"
	}
	const multipart = "multipart/form-data; boundary=b"
	for name, c := range map[string]struct {
		code       int
		path, kind string
		body       io.Reader
		detail     string
	}{
		"a body too large that says so":         {413, "/live", "application/json", strings.NewReader(padded("f", 1<<20)), "must not exceed 1048576 bytes"},
		"a body too large that does not say so": {413, "/live", "application/json", io.MultiReader(strings.NewReader(padded("f", 1<<20))), "must not exceed"},
		"a form without a file":                 {400, "/flymaster", multipart, strings.NewReader(form("other")), `no part named "file"`},
		"a form that is cut off":                {400, "/flymaster", multipart, strings.NewReader("--b\r\nContent-Disp"), `no part named "file"`},
		"a form without a boundary":             {400, "/flymaster", "multipart/form-data", strings.NewReader(form("file")), `no part named "file"`},
		"a form whose file ends in the middle":  {400, "/flymaster", multipart, strings.NewReader(strings.TrimSuffix(form("file"), "\r\n--b--\r\n")), "ended before it was complete"},
		"a form with six parts":                 {400, "/flymaster", multipart, strings.NewReader(strings.Repeat(strings.TrimSuffix(form("other"), "--b--\r\n"), 5) + form("file")), "among its first 5"},
		"a form with a large part header":       {400, "/flymaster", multipart, strings.NewReader("--b\r\n" + strings.Repeat("x:y\r\n", 4096) + form("file")[5:]), "header of a part must not exceed 8192 bytes"},
		"a form that begins with much else":     {400, "/flymaster", multipart, strings.NewReader(strings.Repeat("x\r\n", 8192) + form("file")), "header of a part"},
		"a form with a file that has no lines":  {422, "/flymaster", multipart, strings.NewReader(form("file")), "holds no points"},
		"XML":                                   {415, "/live", "text/xml", strings.NewReader("<gpx/>"), "application/json"},
		"a file without fixes":                  {422, "/upload", "text/xml", strings.NewReader("<gpx/>"), "holds no fixes"},
		"a picture for the device's endpoint":   {415, "/flymaster", "image/png", strings.NewReader("x"), "text/*"},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, http.MethodPost, base+c.path, c.body, "Content-Type", c.kind, "Accept", "application/json")
			assert.Equal(t, c.code, got.code, got.text)
			assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			var p problem
			require.NoError(t, json.Unmarshal([]byte(got.text), &p))
			assert.Equal(t, c.code, p.Status)
			assert.NotEmpty(t, p.Title)
			assert.Contains(t, p.Detail, c.detail)
		})
	}
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows))
	assert.Zero(t, rows)
	assertReleased(t, s.budget)
}

func TestServer_AcceptsEverySpellingOfAContentType(t *testing.T) {
	t.Parallel()
	s, base, pool := newTestServer(t, lane.All(lane.Options{}))
	for _, kind := range []string{"application/json; charset=utf-8", "APPLICATION/JSON", ""} {
		t.Run(kind, func(t *testing.T) {
			got := send(t, http.MethodPost, base+"/live", strings.NewReader(padded("kinds", 0)), "Content-Type", kind)
			assert.Equal(t, 201, got.code, got.text)
		})
	}
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows))
	assert.Equal(t, 1, rows)
	assertReleased(t, s.budget)
}

func TestServer_KeepsNothingOfATruncatedBody(t *testing.T) {
	t.Parallel()
	_, base, pool := newTestServer(t, lane.All(lane.Options{}))
	address, err := url.Parse(base)
	require.NoError(t, err)
	connection, err := net.Dial("tcp", address.Host)
	require.NoError(t, err)
	defer connection.Close()
	body := padded("f", 10)
	_, err = fmt.Fprintf(connection, "POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body)+1, body)
	require.NoError(t, err)
	require.NoError(t, connection.(*net.TCPConn).CloseWrite())
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.NoError(t, response.Body.Close())
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows))
	assert.Zero(t, rows)
}

func TestServer_RespondsAfterAPanicAndReleasesTheBody(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	lanes[1].Decode = func([]byte, lane.DecodeOptions) (lane.Decoded, error) { panic("a mistake") }
	s, base, _ := newTestServer(t, lanes)
	got := send(t, http.MethodPost, base+"/upload", strings.NewReader(padded("f", 1<<20)))
	assert.Equal(t, 500, got.code)
	assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
	assert.NotContains(t, got.text, "a mistake")
	assertReleased(t, s.budget)
}

func TestServer_RespondsToUnknownRoutesWithAProblem(t *testing.T) {
	t.Parallel()
	_, base, _ := newTestServer(t, lane.All(lane.Options{}))
	for request, code := range map[string]int{
		"GET /live": 405, "PUT /upload": 405, "POST /health": 405, "GET /nothing": 404, "POST /liver": 404, "POST /LIVE": 404,
	} {
		t.Run(request, func(t *testing.T) {
			method, path, _ := strings.Cut(request, " ")
			got := send(t, method, base+path, nil)
			assert.Equal(t, code, got.code)
			assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
		})
	}
}

func TestServer_HasNoLanesWithoutIngest(t *testing.T) {
	t.Parallel()
	s, _, _ := newTestServer(t, lane.All(lane.Options{}))
	config := s.config
	config.Ingest = nil
	worker := New(config)
	for _, l := range lane.All(lane.Options{}) {
		assert.Equal(t, 404, statusOf(worker, http.MethodPost, "/"+l.Name), l.Name)
	}
	assert.Equal(t, 200, statusOf(worker, http.MethodGet, "/livez"))
}

func TestServer_RespondsToEachRequestThatBypassesRedisForItself(t *testing.T) {
	t.Parallel()
	_, base, pool := newTestServer(t, lane.All(lane.Options{}))
	_, err := pool.Exec(t.Context(), `ALTER TABLE live_track_points ADD CHECK (elevation < 9000)`)
	require.NoError(t, err)
	held, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = held.Exec(t.Context(), `LOCK TABLE live_track_points IN EXCLUSIVE MODE`)
	require.NoError(t, err)

	// One point is the request's own, one comes in all requests, and one in
	// three is refused.
	const requests = 30
	responses := make([]struct {
		Points, Inserted, Duplicates int
		Rejected                     []lane.Rejection
	}, requests)
	var posting sync.WaitGroup
	for i := range requests {
		body := fmt.Sprintf(`{"flight_id":"f","track_points":[
			{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2},
			{"datetime":"2026-07-14T12:00:%02dZ","lat":1,"lon":2,"elevation":%d}]}`, i, 9000*(i%3/2))
		posting.Go(func() {
			got := send(t, http.MethodPost, base+"/live", strings.NewReader(body))
			assert.Equal(t, 201, got.code, got.text)
			assert.NoError(t, json.Unmarshal([]byte(got.text), &responses[i]))
		})
	}
	require.Eventually(t, func() bool {
		var blocked int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&blocked)
		return err == nil && blocked > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, held.Rollback(t.Context()))
	posting.Wait()

	first := 0
	for i, r := range responses {
		refused := i%3 == 2
		assert.Equal(t, r.Points, r.Inserted+r.Duplicates)
		first += r.Inserted
		if refused {
			require.Len(t, r.Rejected, 1)
			assert.Equal(t, 1, r.Rejected[0].Index)
			assert.Equal(t, 1, r.Points)
			continue
		}
		first--
		assert.Empty(t, r.Rejected)
		assert.Equal(t, 2, r.Points)
	}
	assert.Equal(t, 1, first, "the common point was inserted once")
}

func TestReadProblem_LetsTheClientSendAgainWhatCameTooSlowly(t *testing.T) {
	t.Parallel()
	upload := lane.All(lane.Options{})[1]
	slow := readProblem(fmt.Errorf("read: %w", os.ErrDeadlineExceeded), upload)
	assert.Equal(t, http.StatusServiceUnavailable, slow.Status)
	assert.Equal(t, http.StatusBadRequest, readProblem(io.ErrUnexpectedEOF, upload).Status)
	assert.Equal(t, http.StatusRequestEntityTooLarge, readProblem(fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 1}), upload).Status)
}
