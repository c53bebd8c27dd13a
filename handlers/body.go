package handlers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"tracklane/internal/lane"
)

// body is a request's body in memory. It must be released once, and not be used
// after that.
type body struct {
	*bytes.Buffer
	pool   *sync.Pool
	source *limitedReader
}

// maxPooledBody is the largest buffer, in bytes, that is kept for the next
// requests: rare large bodies would fill the pool for good.
const maxPooledBody = 1 << 20

func (b body) release() {
	b.source.release()
	if b.Cap() <= maxPooledBody {
		b.Reset()
		b.pool.Put(b.Buffer)
	}
}

// readBody reads what a client posted to a lane, up to the lane's limit.
func (s *Server) readBody(c *gin.Context, l *lane.Lane) (body, *problem) {
	mediaType, parameters, problem := contentType(c.Request, l)
	if problem != nil {
		return body{}, problem
	}
	if c.Request.ContentLength > l.MaxBody {
		return body{}, tooLarge(l)
	}
	source := io.Reader(http.MaxBytesReader(c.Writer, c.Request.Body, l.MaxBody))
	if mediaType == "multipart/form-data" {
		part, problem := filePart(source, parameters["boundary"])
		if problem != nil {
			return body{}, problem
		}
		source = part
	}
	b := body{s.bodies.Get().(*bytes.Buffer), &s.bodies, &limitedReader{budget: s.budget, source: source}}
	if n := c.Request.ContentLength; n > 0 {
		b.Grow(int(min(n, unmeteredBytes)) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(b.source); err != nil {
		b.release()
		return body{}, readProblem(err, l)
	}
	return b, nil
}

// contentType returns the request's media type, or a problem when the lane
// does not accept it.
func contentType(r *http.Request, l *lane.Lane) (string, map[string]string, *problem) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return "", nil, &problem{
			Status: http.StatusUnsupportedMediaType, Title: "Wrong content encoding",
			Detail: "The body must not be compressed.",
		}
	}
	header := r.Header.Get("Content-Type")
	if header == "" || header == "application/json" && l.ContentTypes[0] == header {
		return header, nil, nil
	}
	mediaType, parameters, err := mime.ParseMediaType(header)
	if err == nil {
		for _, accepted := range l.ContentTypes {
			family, isFamily := strings.CutSuffix(accepted, "*")
			if mediaType == accepted || isFamily && strings.HasPrefix(mediaType, family) {
				return mediaType, parameters, nil
			}
		}
	}
	return "", nil, &problem{
		Status: http.StatusUnsupportedMediaType, Title: "Wrong content type",
		Detail: fmt.Sprintf("Send the body as %s.", strings.Join(l.ContentTypes, ", ")),
	}
}

// filePart returns the part of a multipart form that is named "file".
func filePart(source io.Reader, boundary string) (io.Reader, *problem) {
	form := multipart.NewReader(source, boundary)
	for {
		part, err := form.NextPart()
		if err != nil {
			return nil, &problem{
				Status: http.StatusBadRequest, Title: "Malformed body",
				Detail: `The form has no part named "file".`,
			}
		}
		if part.FormName() == "file" {
			return part, nil
		}
	}
}

func readProblem(err error, l *lane.Lane) *problem {
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return tooLarge(l)
	case errors.Is(err, errBudget):
		return tooManyLargeRequests()
	}
	return &problem{
		Status: http.StatusBadRequest, Title: "Malformed body",
		Detail: "The body ended before it was complete; send it again.",
	}
}

func tooLarge(l *lane.Lane) *problem {
	return &problem{
		Status: http.StatusRequestEntityTooLarge, Title: "Body too large",
		Detail: fmt.Sprintf("A body must not exceed %d bytes; send the points in several requests.", l.MaxBody),
	}
}
