package handlers

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"tracklane/internal/lane"
)

// maxDecompressors is how many bodies are decompressed at the same time; each takes
// some 45 kB for that.
const maxDecompressors = 500

// plainBody returns a request's body without its Content-Encoding, of which gzip is
// known. Neither what was sent nor what becomes of it may exceed the lane's limit:
// beyond, the reader returns an *http.MaxBytesError. done must be called when there
// is no problem and the body has been read.
func (s *Server) plainBody(c *gin.Context, l *lane.Lane) (source io.Reader, done func(), p *problem) {
	if c.Request.ContentLength > l.MaxBody {
		return nil, nil, tooLarge(l)
	}
	sent := http.MaxBytesReader(c.Writer, c.Request.Body, l.MaxBody)
	switch strings.ToLower(strings.Join(c.Request.Header["Content-Encoding"], ",")) {
	case "", "identity":
		return sent, func() {}, nil
	case "gzip", "x-gzip":
	default:
		return nil, nil, &problem{
			Status: http.StatusUnsupportedMediaType, Title: "Wrong content encoding",
			Detail: "The body may be compressed with gzip alone.",
		}
	}
	if !s.budget.decompressors.TryAcquire(1) {
		return nil, nil, tooManyLargeRequests()
	}
	done = func() { s.budget.decompressors.Release(1) }
	plain, err := gzip.NewReader(sent)
	if errors.Is(err, io.EOF) { // an empty body
		return http.NoBody, done, nil
	}
	if err != nil {
		done()
		return nil, nil, readProblem(err, l)
	}
	return http.MaxBytesReader(c.Writer, plain, l.MaxBody), done, nil
}
