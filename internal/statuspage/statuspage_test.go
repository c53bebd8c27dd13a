package statuspage

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func get(p *Page, path string, header http.Header) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for name := range header {
		request.Header.Set(name, header.Get(name))
	}
	response := httptest.NewRecorder()
	p.ServeHTTP(response, request)
	return response
}

func newIdlePage() *Page {
	return New(func(context.Context) (Snapshot, error) { return Snapshot{}, nil }, slog.Default())
}

func TestPage_SetsSecurityHeaders(t *testing.T) {
	p := newIdlePage()
	for _, path := range []string{"/", "/page/page.css", "/page/uplot/uPlot.iife.min.js", "/page/missing.js"} {
		t.Run(path, func(t *testing.T) {
			header := get(p, path, nil).Header()
			assert.Equal(t, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
				"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
				header.Get("Content-Security-Policy"), path)
			assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
			assert.Equal(t, "no-referrer", header.Get("Referrer-Policy"))
		})
	}
}

func TestPage_AssetsHaveTheirTypeAndETag(t *testing.T) {
	p := newIdlePage()
	for path, contentType := range map[string]string{
		"/":                             "text/html; charset=utf-8",
		"/page/page.css":                "text/css; charset=utf-8",
		"/page/page.js":                 "text/javascript; charset=utf-8",
		"/page/icon.svg":                "image/svg+xml",
		"/page/uplot/uPlot.iife.min.js": "text/javascript; charset=utf-8",
	} {
		t.Run(path, func(t *testing.T) {
			first := get(p, path, nil)
			assert.Equal(t, http.StatusOK, first.Code)
			assert.Equal(t, contentType, first.Header().Get("Content-Type"))
			assert.Equal(t, "no-cache", first.Header().Get("Cache-Control"))

			again := get(p, path, http.Header{"If-None-Match": {first.Header().Get("ETag")}})
			assert.Equal(t, http.StatusNotModified, again.Code)
			assert.Zero(t, again.Body.Len())
		})
	}
}

func TestPage_ServesOnlyItsFiles(t *testing.T) {
	p := newIdlePage()
	for _, path := range []string{"/page/", "/page/index.html", "/page/uplot/vendor.txt", "/page/page.go", "/elsewhere"} {
		t.Run(path, func(t *testing.T) {
			assert.Equal(t, http.StatusNotFound, get(p, path, nil).Code)
		})
	}
	response := httptest.NewRecorder()
	p.ServeHTTP(response, httptest.NewRequest(http.MethodPost, "/", nil))
	assert.Equal(t, http.StatusMethodNotAllowed, response.Code)
}

func TestPage_LinksToFilesThatExist(t *testing.T) {
	p := newIdlePage()
	html := get(p, "/", nil).Body.String()
	links := regexp.MustCompile(`(?:href|src)="(/page/[^"]+)"`).FindAllStringSubmatch(html, -1)
	require.NotEmpty(t, links)
	for _, link := range links {
		assert.Equal(t, http.StatusOK, get(p, link[1], nil).Code, link[1])
	}
	assert.NotRegexp(t, `https?://|style="|<style|\son[a-z]+="`, html, "the Content-Security-Policy forbids it")
}

func TestPage_StreamsEventsThroughGin(t *testing.T) {
	p := New(now, slog.Default())
	ctx, cancel := context.WithCancel(t.Context())
	router := gin.New()
	for _, path := range []string{"/", "/page/*file", "/events"} {
		router.GET(path, gin.WrapH(p))
	}
	server := httptest.NewServer(router)
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		server.Close()
	})

	for _, path := range []string{"/", "/page/uplot/uPlot.min.css"} {
		response, err := server.Client().Get(server.URL + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
	}
	response, err := server.Client().Get(server.URL + "/events")
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for range 2 { // snapshots
		for line := ""; line != "event: snapshot\n"; {
			line, err = lines.ReadString('\n')
			require.NoError(t, err)
		}
	}
}
