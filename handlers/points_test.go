package handlers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestABodyThatCannotBeTakenIsAnsweredAsAProblem(t *testing.T) {
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
		"a form with a file that has no lines":  {422, "/flymaster", multipart, strings.NewReader(form("file")), "holds no points"},
		"XML":                                   {415, "/upload", "text/xml", strings.NewReader("<gpx/>"), "Send the body as application/json"},
		"a picture for the device's endpoint":   {415, "/flymaster", "image/png", strings.NewReader("x"), "text/*"},
	} {
		a := send(t, http.MethodPost, base+c.path, c.body, "Content-Type", c.kind, "Accept", "application/json")
		assert.Equal(t, c.code, a.code, "%s: %s", name, a.text)
		assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"), name)
		var p problem
		require.NoError(t, json.Unmarshal([]byte(a.text), &p), name)
		assert.Equal(t, c.code, p.Status, name)
		assert.NotEmpty(t, p.Title, name)
		assert.Contains(t, p.Detail, c.detail, name)
	}
	for _, kind := range []string{"application/json; charset=utf-8", "APPLICATION/JSON", ""} {
		a := send(t, http.MethodPost, base+"/live", strings.NewReader(padded("kinds", 0)), "Content-Type", kind)
		assert.Equal(t, 201, a.code, "%q: %s", kind, a.text)
	}
	var rows int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows))
	assert.Equal(t, 1, rows)
	assert.True(t, s.budget.TryAcquire(bodyBudget), "what the bodies took was given back")
}

func TestABodyThatEndsTooEarlyKeepsNothing(t *testing.T) {
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

func TestLargeBodiesAreRefusedWhenTooMuchIsInMemoryAndSmallOnesNever(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	require.True(t, s.budget.TryAcquire(bodyBudget-shareStep))
	postSize := func(size int) answer {
		return send(t, http.MethodPost, base+"/upload", strings.NewReader(padded(fmt.Sprint(size), size)))
	}
	assert.Equal(t, 201, postSize(freeBody/2).code)
	assert.Equal(t, 201, postSize(freeBody+shareStep/2).code, "there is room for one step")
	refused := postSize(1 << 20)
	assert.Equal(t, 503, refused.code)
	assert.Equal(t, retryAfter, refused.header.Get("Retry-After"))
	assert.Equal(t, "application/problem+json", refused.header.Get("Content-Type"))
	s.budget.Release(bodyBudget - shareStep)

	var posting sync.WaitGroup
	for i := range 20 {
		posting.Go(func() {
			assert.Equal(t, 201, send(t, http.MethodPost, base+"/upload", strings.NewReader(padded(fmt.Sprint("p", i), 1<<20))).code)
		})
	}
	posting.Wait()
	assert.True(t, s.budget.TryAcquire(bodyBudget), "everything was given back")
}

func TestAPanicIsAnsweredAndHoldsNothing(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	lanes[1].Decode = func([]byte, lane.DecodeOptions) (lane.Decoded, error) { panic("a mistake") }
	s, base, _ := newTestServer(t, lanes)
	a := send(t, http.MethodPost, base+"/upload", strings.NewReader(padded("f", 1<<20)))
	assert.Equal(t, 500, a.code)
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	assert.NotContains(t, a.text, "a mistake")
	assert.True(t, s.budget.TryAcquire(bodyBudget), "the body's share of the memory is lost")
}

func TestWhatNobodyServesIsAnsweredAsAProblem(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	for request, code := range map[string]int{
		"GET /live": 405, "PUT /upload": 405, "POST /health": 405, "GET /nothing": 404, "POST /liver": 404, "POST /LIVE": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		a := send(t, method, base+path, nil)
		assert.Equal(t, code, a.code, request)
		assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"), request)
	}
	// A worker has no enqueuer, and no lanes.
	parts := s.Parts
	parts.Enqueuer = nil
	worker := &Server{Parts: parts, page: s.page}
	worker.router = worker.newRouter()
	for _, l := range lane.All(lane.Options{}) {
		recorded := statusOf(worker, http.MethodPost, "/"+l.Name)
		assert.Equal(t, 404, recorded, l.Name)
	}
	assert.Equal(t, 200, statusOf(worker, http.MethodGet, "/livez"))
}
