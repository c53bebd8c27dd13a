package handlers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
)

const pageOrigin = "https://race.example"

// serverWithOrigins is a server with tokens, which pages of these origins may call.
func serverWithOrigins(t *testing.T, origins ...string) (url string) {
	t.Helper()
	s, _, _ := newTestServer(t, lane.All(lane.Options{}))
	config := s.config
	config.Access = Access{
		Tokens: auth.NewVerifier(testKey, ""), Operator: auth.NewOperator("operator", "cloudbase"), Origins: origins,
	}
	server := httptest.NewServer(New(config))
	t.Cleanup(server.Close)
	return server.URL
}

func TestCORS_LetsListedPagesPost(t *testing.T) {
	t.Parallel()
	base := serverWithOrigins(t, "http://localhost:5173", pageOrigin)
	good := token(t, "anna", "", "live", "upload", "scoring")
	for _, path := range []string{"/live", "/upload", "/scoring", "/flymaster", "/t/" + good + "/live"} {
		preflight := send(t, http.MethodOptions, base+path, nil, "Origin", pageOrigin,
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		assert.Equal(t, http.StatusNoContent, preflight.code, path)
		assert.Equal(t, pageOrigin, preflight.header.Get("Access-Control-Allow-Origin"), path)
		assert.Contains(t, preflight.header.Get("Access-Control-Allow-Methods"), "POST", path)
		assert.Contains(t, preflight.header.Get("Access-Control-Allow-Headers"), "Authorization, Content-Type", path)
		assert.Contains(t, preflight.header.Get("Vary"), "Origin", path)
	}
	posted := send(t, http.MethodPost, base+"/live", strings.NewReader(onePoint("")), "Origin", pageOrigin,
		"Authorization", "Bearer "+good, "Content-Type", "application/json")
	refused := send(t, http.MethodPost, base+"/live", strings.NewReader(onePoint("")), "Origin", pageOrigin)
	assert.Equal(t, http.StatusCreated, posted.code, posted.text)
	assert.Equal(t, http.StatusUnauthorized, refused.code, "a page may read why, too")
	for _, got := range []response{posted, refused} {
		assert.Equal(t, pageOrigin, got.header.Get("Access-Control-Allow-Origin"))
		assert.Equal(t, "Origin", got.header.Get("Vary"))
		assert.Contains(t, got.header.Get("Access-Control-Expose-Headers"), "Retry-After")
		assert.Empty(t, got.header.Get("Access-Control-Allow-Credentials"))
	}
}

// requireNoCORS sends a preflight and a request, and wants no word of CORS.
func requireNoCORS(t *testing.T, method, url, origin string, header ...string) {
	t.Helper()
	for _, method := range []string{http.MethodOptions, method} {
		got := send(t, method, url, strings.NewReader("{}"),
			append(header, "Origin", origin, "Access-Control-Request-Method", "POST")...)
		for name := range got.header {
			assert.NotContains(t, name, "Access-Control", method+" "+url)
		}
	}
}

func TestCORS_LetsNoOtherPageRead(t *testing.T) {
	t.Parallel()
	base := serverWithOrigins(t, pageOrigin)
	for _, origin := range []string{
		"null", "", "*", "https://evil.example", "http://race.example", "https://race.example:8443",
		"https://race.example.evil.example", "https://evil-race.example", "https://RACE.example", pageOrigin + "/", pageOrigin + ", " + pageOrigin,
	} {
		requireNoCORS(t, http.MethodPost, base+"/live", origin)
	}
}

func TestCORS_IsNotForOperators(t *testing.T) {
	t.Parallel()
	base := serverWithOrigins(t, pageOrigin)
	operator := []string{"Authorization", "Basic b3BlcmF0b3I6Y2xvdWRiYXNl"}
	for _, path := range []string{
		"/", "/page/page.js", "/metrics", "/queue/status", "/health", "/livez", "/readyz", "/asynqmon", "/asynqmon/api/queues", "/nowhere",
	} {
		requireNoCORS(t, http.MethodGet, base+path, pageOrigin, operator...)
	}
}

func TestCORS_IsOffUnlessPagesAreListed(t *testing.T) {
	t.Parallel()
	base := serverWithOrigins(t)
	requireNoCORS(t, http.MethodPost, base+"/live", pageOrigin)
	assert.Equal(t, http.StatusMethodNotAllowed, send(t, http.MethodOptions, base+"/live", nil, "Origin", pageOrigin).code)
}
