// Package statuspage serves the operators' page: the path of a point through
// the installation, with live numbers.
package statuspage

import (
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"

	"tracklane/internal/webfiles"
)

// Page serves the page at "/", what it is made of below "/page/", and its
// snapshots as server-sent events at "/events". They come while Run runs.
// Any number of goroutines may use a Page at the same time.
type Page struct {
	source Source
	logger *slog.Logger
	routes *http.ServeMux
	broker broker
}

// New returns a page that shows the snapshots of source.
func New(source Source, logger *slog.Logger) *Page {
	p := &Page{source: source, logger: logger, routes: http.NewServeMux()}
	p.routes.HandleFunc("GET /events", p.serveEvents)
	for _, f := range webfiles.Read(files()) {
		pattern := "GET /page/" + f.Name
		if f.Name == "index.html" {
			pattern = "GET /{$}"
		}
		p.routes.Handle(pattern, f)
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	p.routes.ServeHTTP(w, r)
}

// contentSecurityPolicy lets the page load what is embedded here, read its
// events, and nothing else.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; " +
	"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

//go:embed assets
var assets embed.FS

// files are the page's. embed has checked that there are such.
func files() fs.FS {
	root, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err)
	}
	return root
}

// UPlot returns the files of uPlot, which draws charts, for other pages.
func UPlot() []webfiles.File {
	var found []webfiles.File
	for _, f := range webfiles.Read(files()) {
		if strings.HasPrefix(f.Name, "uplot/") {
			found = append(found, f)
		}
	}
	return found
}
