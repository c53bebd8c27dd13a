// Package statuspage serves the operators' page: the path of a point through
// the installation, with live numbers.
package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"
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
	for _, a := range embedded() {
		p.routes.Handle("GET "+a.pattern, a)
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

// contentTypes names the embedded files that are served, by extension; the
// machine's own list may call them something else.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// asset is one embedded file. Browsers ask each time whether theirs is still
// the right one, so that a new version of the page is never half an old one.
type asset struct {
	pattern     string // of the route
	contentType string
	tag         string
	content     []byte
}

func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", a.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}

// embedded reads the assets. It panics when one cannot be read, which does not
// happen in a program that was built.
func embedded() []asset {
	var all []asset
	err := fs.WalkDir(assets, "assets", func(name string, _ fs.DirEntry, err error) error {
		contentType, served := contentTypes[path.Ext(name)]
		if err != nil || !served {
			return err
		}
		content, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		pattern := "/page" + strings.TrimPrefix(name, "assets")
		if name == "assets/index.html" {
			pattern = "/{$}"
		}
		sum := sha256.Sum256(content)
		all = append(all, asset{
			pattern: pattern, contentType: contentType, content: content,
			tag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		})
		return nil
	})
	if err != nil {
		panic(fmt.Errorf("read the page's embedded files: %w", err))
	}
	return all
}
