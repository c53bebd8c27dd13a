// Package apidoc describes tracklane's HTTP API in OpenAPI 3.1
// (https://spec.openapis.org/oas/v3.1.1.html), and serves the description, to programs
// and as a page to read.
package apidoc

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"tracklane/internal/webfiles"
)

// source is the description as it is written. Members keep its order.
//
//go:embed openapi.yaml
var source []byte

//go:embed assets
var assets embed.FS

// contentSecurityPolicy lets the page load its style, and nothing else: it is whole
// without a script.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Page serves the description at "/openapi.json", the same to read at "/docs", and the
// style of that below "/docs/". It holds nothing that anybody may not see. Any number
// of goroutines may use it.
type Page struct {
	// routes are made with the first request: most processes never get one.
	routes func() *http.ServeMux
}

// New returns the page.
func New() *Page { return &Page{routes: sync.OnceValue(newRoutes)} }

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	p.routes().ServeHTTP(w, r)
}

// newRoutes panics if an embedded file is not as the tests of this package want it.
func newRoutes() *http.ServeMux {
	description, err := parse(source)
	if err != nil {
		panic(err)
	}
	text, err := render(description)
	if err != nil {
		panic(err)
	}
	style, err := assets.ReadFile("assets/docs.css")
	if err != nil {
		panic(err)
	}
	routes := http.NewServeMux()
	routes.Handle("GET /openapi.json", webfiles.New("openapi.json", jsonOf(description)))
	routes.Handle("GET /docs", webfiles.New("docs.html", text))
	routes.Handle("GET /docs/docs.css", webfiles.New("docs.css", style))
	return routes
}

// JSON returns the description in JSON.
func JSON() []byte {
	description, err := parse(source)
	if err != nil { // the tests parse it
		panic(err)
	}
	return jsonOf(description)
}

func jsonOf(description *value) []byte {
	text, err := json.Marshal(description)
	if err != nil {
		panic(fmt.Errorf("write the description of the API: %w", err))
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		panic(fmt.Errorf("indent the description of the API: %w", err))
	}
	return append(indented.Bytes(), '\n')
}
