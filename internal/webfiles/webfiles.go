// Package webfiles serves the embedded files of a page.
package webfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// contentTypes names the files that are served, by extension; the machine's own list
// may call them something else.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// File is one file. Browsers ask each time whether theirs is still the right one, so
// that a new version of a page is never half an old one.
type File struct {
	Name string // with slashes, from the root of the file system

	contentType, tag string
	content          []byte
}

// New returns a file; its name's extension says what it is.
func New(name string, content []byte) File {
	sum := sha256.Sum256(content)
	return File{Name: name, contentType: contentTypes[path.Ext(name)], content: content, tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// ServeHTTP implements http.Handler.
func (f File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}

// Read returns the files of a file system that pages are made of: HTML, CSS, scripts
// and SVG. It panics when one cannot be read, which does not happen with what is
// embedded in the program.
func Read(files fs.FS) (all []File) {
	err := fs.WalkDir(files, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || contentTypes[path.Ext(name)] == "" {
			return err
		}
		content, err := fs.ReadFile(files, name)
		all = append(all, New(name, content))
		return err
	})
	if err != nil {
		panic(fmt.Errorf("read a page's embedded files: %w", err))
	}
	return all
}
