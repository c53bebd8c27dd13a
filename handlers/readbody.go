package handlers

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"github.com/gin-gonic/gin"

	"tracklane/internal/lane"
)

// readBody reads what a client posted to a lane, up to the lane's limit. The body
// must be released, an incomplete one too, which comes with the problem.
func (s *Server) readBody(c *gin.Context, l *lane.Lane, check func(head []byte) error) (*body, *problem) {
	b := s.newBody(c)
	mediaType, parameters, refused := contentType(c.Request, l)
	if refused != nil {
		return b, refused
	}
	return b, s.readPlain(c, l, b, func(source io.Reader) (p *problem) {
		if mediaType == "multipart/form-data" {
			if source, p = s.budget.filePart(source, parameters["boundary"], l); p != nil {
				return p
			}
		}
		if mediaType == "application/x-www-form-urlencoded" {
			if source, p = fieldOf(source, l); p != nil {
				return p
			}
		}
		if err := b.readFrom(source, check); err != nil {
			return readProblem(err, l)
		}
		return nil
	})
}

// readPlain calls read with a request's body without its Content-Encoding, to read it
// into b.
func (s *Server) readPlain(c *gin.Context, l *lane.Lane, b *body, read func(source io.Reader) *problem) *problem {
	source, done, p := s.plainBody(c, l, b)
	if p != nil {
		return p
	}
	p = func() *problem {
		defer done() // a decompressor is not held while others are waited for
		return read(source)
	}()
	if p != nil {
		b.release() // what follows may take seconds
	}
	if err := b.awaitPace(); err != nil && p == nil {
		p = readProblem(err, l)
	}
	return p
}

// newBody returns a body of which nothing has been read.
func (s *Server) newBody(c *gin.Context) *body {
	return &body{budget: s.budget, ctx: c.Request.Context(), writer: c.Writer, buffer: s.budget.pools[0].Get().(*[]byte)}
}

// readAnyBody is readBody of a body of whatever type.
func (s *Server) readAnyBody(c *gin.Context, l *lane.Lane) (*body, *problem) {
	b := s.newBody(c)
	return b, s.readPlain(c, l, b, func(source io.Reader) *problem {
		if err := b.readFrom(source, nil); err != nil {
			return readProblem(err, l)
		}
		return nil
	})
}

// contentType returns the request's media type, or a problem when the lane
// does not accept it.
func contentType(r *http.Request, l *lane.Lane) (string, map[string]string, *problem) {
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

func malformed(detail string) *problem {
	return &problem{Status: http.StatusBadRequest, Title: "Malformed body", Detail: detail}
}

func readProblem(err error, l *lane.Lane) *problem {
	var limit *http.MaxBytesError
	var refused *refusal
	if p := encodingProblem(err); p != nil {
		return p
	}
	switch {
	case errors.As(err, &refused):
		return refused.problem
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
