// Package mappage serves the live map and the page of flights: files that are embedded,
// which ask nobody but this server, and the server of the map's background if there is one.
package mappage

import (
	"embed"
	"html"
	"io/fs"
	"net/http"
	"strings"

	"tracklane/internal/statuspage"
	"tracklane/internal/webfiles"
)

// Page serves the map at "/map", the page of flights with ServeFlights, and what they
// are made of below "/map/". These files hold nothing that anybody may not see, except
// the background at TilesPath, which is the installation's own: whom it and the page
// itself are for is the caller's to say. Any number of goroutines may use it.
type Page struct {
	routes  *http.ServeMux
	flights webfiles.File
	policy  string // Content-Security-Policy
}

//go:embed assets
var assets embed.FS

// New returns the page. tiles is the file or the URL template of its background, as
// the configuration accepts it, or empty for a grid.
func New(tiles string) *Page {
	p := &Page{routes: http.NewServeMux(), policy: policyWith(tileSource(tiles))}
	root, err := fs.Sub(assets, "assets")
	if err != nil { // embed has checked that there is such a directory
		panic(err)
	}
	for _, f := range append(webfiles.Read(root), statuspage.UPlot()...) {
		pattern := "GET /map/" + f.Name
		if f.Name == "flights.html" {
			p.flights = f
			continue
		}
		if f.Name == "index.html" {
			text, err := fs.ReadFile(root, f.Name)
			if err != nil {
				panic(err)
			}
			shown := tiles
			if isFile(tiles) {
				shown = TilesPath
				p.routes.HandleFunc("GET "+TilesPath, serveTiles(tiles))
			}
			const empty = `<meta name="tiles" content="">`
			filled := strings.Replace(string(text), empty, `<meta name="tiles" content="`+html.EscapeString(shown)+`">`, 1)
			pattern, f = "GET /map", webfiles.New(f.Name, []byte(filled))
		}
		p.routes.Handle(pattern, f)
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeader(w.Header(), p.policy)
	p.routes.ServeHTTP(w, r)
}

// ServeFlights serves the page of flights, which may be at any path of one part.
func (p *Page) ServeFlights(w http.ResponseWriter, r *http.Request) {
	setHeader(w.Header(), policyWith(""))
	p.flights.ServeHTTP(w, r)
}

func setHeader(header http.Header, policy string) {
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer") // the address may hold a token
}

func policyWith(images string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:" + images +
		"; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}

// tileSource is where a background's images come from, for a Content-Security-Policy.
func tileSource(tiles string) string {
	if tiles == "" {
		return ""
	}
	if isFile(tiles) {
		return " blob:" // what the page makes of the file
	}
	scheme, rest, _ := strings.Cut(tiles, "://")
	host, _, _ := strings.Cut(rest, "/")
	return " " + scheme + "://" + strings.Replace(host, "{s}", "*", 1)
}
