package handlers

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// What a page of another origin may send and read beside what it always may. It
// sends its token itself, so that no browser has to add credentials.
const (
	corsRequestHeaders  = "Authorization, Content-Type, Content-Encoding, If-None-Match, Last-Event-ID, X-Request-Id"
	corsResponseHeaders = "ETag, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
	corsMaxAge          = "7200" // seconds that a browser remembers a preflight, at most
)

// cors lets web pages of some origins call some endpoints of a router, as
// https://fetch.spec.whatwg.org/#http-cors-protocol says.
type cors struct {
	origins []string
	methods map[string][]string // of the endpoints, by their path in the router
}

// newCORS returns a cors that lets pages call nothing until it is given a share.
func newCORS(origins []string) *cors {
	return &cors{origins: origins, methods: make(map[string][]string)}
}

// share lets pages call every endpoint that the router has so far, and handles
// their preflights.
func (x *cors) share(router *gin.Engine) {
	for _, route := range router.Routes() {
		x.methods[route.Path] = append(x.methods[route.Path], route.Method)
	}
	for path := range x.methods {
		router.OPTIONS(path, x.preflight)
	}
}

// allow is the middleware that lets a page read the response.
func (x *cors) allow(c *gin.Context) {
	if _, shared := x.methods[c.FullPath()]; !shared {
		return
	}
	c.Header("Vary", "Origin")
	if origin := x.origin(c.Request); origin != "" {
		c.Header("Access-Control-Allow-Origin", origin)
		c.Header("Access-Control-Expose-Headers", corsResponseHeaders)
	}
}

// preflight tells a browser what the page may send.
func (x *cors) preflight(c *gin.Context) {
	c.Header("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if x.origin(c.Request) != "" {
		c.Header("Access-Control-Allow-Methods", strings.Join(x.methods[c.FullPath()], ", "))
		c.Header("Access-Control-Allow-Headers", corsRequestHeaders)
		c.Header("Access-Control-Max-Age", corsMaxAge)
	}
	c.Status(http.StatusNoContent)
}

// origin is that of the page that makes a request; empty if it may not.
func (x *cors) origin(r *http.Request) string {
	if given := r.Header["Origin"]; len(given) == 1 && slices.Contains(x.origins, given[0]) {
		return given[0]
	}
	return ""
}
