package handlers

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/apidoc"
	"tracklane/internal/lane"
)

// The description names each route and no other. What pages are made of is below the
// routes that end in a wildcard.
func TestDescription_NamesEachRoute(t *testing.T) {
	t.Parallel()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	parameter := regexp.MustCompile(`:(\w+)`)
	var routed []string
	for _, route := range s.router.(*gin.Engine).Routes() {
		isPageOfMethods := route.Path == "/asynqmon" && route.Method != http.MethodGet
		if !strings.Contains(route.Path, "*") && !isPageOfMethods {
			routed = append(routed, route.Method+" "+parameter.ReplaceAllString(route.Path, "{$1}"))
		}
	}
	document, err := openapi3.NewLoader().LoadFromData(apidoc.JSON())
	require.NoError(t, err)
	var described []string
	for path, item := range document.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(described)
	assert.Equal(t, routed, described)

	for _, path := range []string{"/openapi.json", "/docs", "/docs/docs.css"} {
		assert.Equal(t, http.StatusOK, send(t, http.MethodGet, url+path, nil).code, path)
	}
}
