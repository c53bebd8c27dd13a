package handlers

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// tagOf returns the ETag of a response that text determines.
func tagOf(text []byte) string {
	sum := sha256.Sum256(text)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// notModified sets a response's ETag, and responds with 304 to a client that has
// that response already (RFC 9110, 13.1.2).
func notModified(c *gin.Context, tag string) bool {
	c.Header("ETag", tag)
	for _, line := range c.Request.Header.Values("If-None-Match") {
		for each := range strings.SplitSeq(line, ",") {
			if each = strings.TrimSpace(each); each == "*" || strings.TrimPrefix(each, "W/") == tag {
				c.Status(http.StatusNotModified)
				c.Writer.WriteHeaderNow()
				return true
			}
		}
	}
	return false
}
