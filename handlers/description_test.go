package handlers

import (
	"net/http"
	"regexp"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/asynqmon"
	"tracklane/internal/apidoc"
	"tracklane/internal/lane"
	"tracklane/internal/mappage"
)

// noAPI are the routes of what pages are made of, and of the queues' web UI.
var noAPI = []string{"/asynqmon/*path", "/docs/*path", "/map/*path", "/page/*path"}

// The description names each route and no other.
func TestDescription_NamesEachRoute(t *testing.T) {
	t.Parallel()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	parameter := regexp.MustCompile(`:(\w+)`)
	routed := []string{"GET " + mappage.TilesPath} // the only one of /map/*path that is no part of the page
	var others []string
	for _, route := range s.router.(*gin.Engine).Routes() {
		isOfUI := route.Path == asynqmon.RootPath && route.Method != http.MethodGet
		switch {
		case slices.Contains(noAPI, route.Path):
			others = append(others, route.Path)
		case !isOfUI:
			routed = append(routed, route.Method+" "+parameter.ReplaceAllString(route.Path, "{$1}"))
		}
	}
	slices.Sort(others)
	assert.Equal(t, noAPI, slices.Compact(others), "each of them is a route")
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
