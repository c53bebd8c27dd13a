package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/apidoc"
	"tracklane/internal/app"
	"tracklane/internal/auth"
)

// examples sends the examples of the description to a server.
type examples struct {
	server   *server
	document *openapi3.T
	token    string
}

// Each example of the description is accepted by the program, and the responses are as
// it says (see TestMain).
func TestDescription_ItsExamplesAreAccepted(t *testing.T) {
	t.Parallel()
	document, err := openapi3.NewLoader().LoadFromData(apidoc.JSON())
	require.NoError(t, err)
	const key = "0123456789abcdef0123456789abcdef"
	token, err := auth.Sign(key, auth.Claims{Scopes: auth.Scopes(), Expires: time.Now().Add(time.Hour)}, time.Now())
	require.NoError(t, err)
	x := examples{document: document, token: token}
	x.server = startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+servers.Database(t), "REDIS_URL="+servers.Redis(t).URL(),
		"MAP_TILES="+writeTiles(t), "AUTH=on", "SECRET_KEY="+key, "OPERATOR_PASSWORD=cloudbase")
	bodies := 0
	for _, path := range slices.Sorted(maps.Keys(document.Paths.Map())) {
		operation := document.Paths.Value(path).Post
		if operation == nil {
			continue
		}
		for contentType, content := range operation.RequestBody.Value.Content {
			for _, example := range content.Examples {
				bodies++
				body, isText := example.Value.Value.(string)
				if !isText {
					text, err := json.Marshal(example.Value.Value)
					require.NoError(t, err)
					body = string(text)
				}
				assert.Less(t, x.send(t, http.MethodPost, path, strings.Replace(contentType, "*", "plain", 1), body), 300, "%s %s", path, body)
			}
		}
	}
	assert.Equal(t, 13, bodies)
	require.Eventually(t, func() bool {
		return x.send(t, http.MethodGet, "/flights/{id}", "", "") == http.StatusOK
	}, 30*time.Second, 50*time.Millisecond, "the example of a flight is that of the points")
	for path, item := range document.Paths.Map() {
		if item.Get != nil {
			assert.Equal(t, http.StatusOK, x.send(t, http.MethodGet, path, "", ""), path)
		}
	}
}

// writeTiles writes the header of a PMTiles file with images.
func writeTiles(t *testing.T) (name string) {
	t.Helper()
	header := make([]byte, 127)
	copy(header, "PMTiles\x03")
	header[99] = 2 // PNG
	name = filepath.Join(t.TempDir(), "area.pmtiles")
	require.NoError(t, os.WriteFile(name, header, 0o600))
	return name
}

// send makes a request of the examples of an operation's parameters.
func (x *examples) send(t *testing.T, method, path, contentType, body string) (status int) {
	t.Helper()
	operation := x.document.Paths.Value(path).GetOperation(method)
	query := url.Values{}
	for _, parameter := range operation.Parameters {
		if example, _ := json.Marshal(parameter.Value.Example); parameter.Value.Example != nil {
			text := strings.Trim(string(example), `"`)
			if parameter.Value.In == openapi3.ParameterInPath {
				path = strings.Replace(path, "{"+parameter.Value.Name+"}", text, 1)
			} else {
				query.Set(parameter.Value.Name, text)
			}
		}
	}
	request, err := http.NewRequest(method, x.server.url+path+"?"+query.Encode(), strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("Authorization", "Bearer "+x.token)
	if operation.Security != nil && len(*operation.Security) > 0 && (*operation.Security)[len(*operation.Security)-1]["operator"] != nil {
		request.SetBasicAuth("operator", "cloudbase")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	if response.Header.Get("Content-Type") != "text/event-stream" {
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
	}
	return response.StatusCode
}
