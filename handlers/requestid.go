package handlers

import (
	"math/rand/v2"
	"strconv"

	"github.com/gin-gonic/gin"
)

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 64
)

// requestID returns the request's id: the client's own where it is short and
// of letters, digits and -_.:, else a new one. It is in the
// response's header from the first call on.
func requestID(c *gin.Context) string {
	header := c.Writer.Header()
	if set := header[requestIDHeader]; set != nil {
		return set[0]
	}
	id := c.GetHeader(requestIDHeader)
	if !validRequestID(id) {
		id = strconv.FormatUint(rand.Uint64(), 36)
	}
	header[requestIDHeader] = []string{id}
	return id
}

func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
