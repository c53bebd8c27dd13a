package handlers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"tracklane/internal/lane"
)

// body is a request's body in memory. It must be released once, and not be used
// after that; its source must be released once, too, when the request is answered.
type body struct {
	*bytes.Buffer
	pool   *sync.Pool
	source *limitedReader
}

// maxPooledBody is the largest buffer, in bytes, that is kept for the next
// requests: rare large bodies would fill the pool for good.
const maxPooledBody = 1 << 20

// release frees the memory of the body. What it acquired from the budget is kept
// for the points made of it, and returned when the source is released.
func (b body) release() {
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
		part, problem := filePart(source, parameters["boundary"], l)
		if problem != nil {
			return body{}, problem
		}
		source = part
	}
	b := body{s.bodies.Get().(*bytes.Buffer), &s.bodies, &limitedReader{ctx: c.Request.Context(), budget: s.budget, pace: s.pace, source: source}}
	if n := c.Request.ContentLength; n > 0 {
		b.Grow(int(min(n, unmeteredBytes)) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(b.source); err != nil {
		b.release()
		b.source.release()
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

const (
	// maxParts is how many parts of a form are looked at.
	maxParts = 5

	// maxPartHeader is the largest header of a part, in bytes. Package multipart
	// takes 10 MB, and makes a multiple of it of many short lines.
	maxPartHeader = 16 << 10
)

// filePart returns the part of a multipart form that is named "file".
func filePart(source io.Reader, boundary string, l *lane.Lane) (io.Reader, *problem) {
	bounded := &boundedReader{source: source}
	form := multipart.NewReader(bounded, boundary)
	for range maxParts {
		bounded.left = maxPartHeader
		part, err := form.NextPart()
		if err != nil && bounded.left == 0 { // whatever the cut-off line made of the error
			return nil, malformed(fmt.Sprintf("The header of a part must not exceed %d bytes.", maxPartHeader))
		}
		if err != nil {
			problem := readProblem(err, l)
			if problem.Status == http.StatusBadRequest {
				problem.Detail = `The form has no part named "file".`
			}
			return nil, problem
		}
		bounded.left = math.MaxInt
		if part.FormName() == "file" {
			return part, nil
		}
		if _, err := io.Copy(io.Discard, part); err != nil {
			return nil, readProblem(err, l)
		}
	}
	return nil, malformed(fmt.Sprintf(`The form has no part named "file" among its first %d.`, maxParts))
}

func malformed(detail string) *problem {
	return &problem{Status: http.StatusBadRequest, Title: "Malformed body", Detail: detail}
}

// errPartHeader says that the header of a form's part is too large.
var errPartHeader = errors.New("the header of a part is too large")

// boundedReader reads no more than a number of bytes from its source.
type boundedReader struct {
	source io.Reader
	left   int
}

// Read implements io.Reader. It returns errPartHeader when no bytes are left.
func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errPartHeader
	}
	n, err := r.source.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

func readProblem(err error, l *lane.Lane) *problem {
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return tooLarge(l)
	case errors.Is(err, errBudget):
		return tooManyLargeRequests()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{
			Status: http.StatusServiceUnavailable, Title: "Body too slow",
			Detail: "The body did not come in time, and nothing of it was kept. Send it again, in several requests if it is large.",
		}
	}
	return malformed("The body ended before it was complete; send it again.")
}

func tooLarge(l *lane.Lane) *problem {
	return &problem{
		Status: http.StatusRequestEntityTooLarge, Title: "Body too large",
		Detail: fmt.Sprintf("A body must not exceed %d bytes; send the points in several requests.", l.MaxBody),
	}
}
