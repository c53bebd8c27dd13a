package apidoctest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOver_NamesWhatIsNotDescribed(t *testing.T) {
	t.Parallel()
	const good = `{"status":"queued","points":1,"rejected":[],"rejected_total":0}`
	const point = `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T10:15:30Z","lat":1,"lon":2}]}`
	for name, c := range map[string]struct {
		path, sent, received string
		code                 int
		header               map[string]string
		want                 string
	}{
		"what is described":      {path: "/live", sent: point, received: good, code: 202},
		"a token before it":      {path: "/t/a.b.c/live", sent: point, received: good, code: 202},
		"a point left out":       {path: "/live", sent: `{}`, received: strings.Replace(good, `total":0`, `total":1`, 1), code: 202},
		"nobody knows it":        {path: "/nothing", received: good, code: 202, want: "it is not described"},
		"another status":         {path: "/live", received: good, code: 204, want: "it is not described"},
		"another type":           {path: "/live", received: "OK", code: 202, header: map[string]string{"Content-Type": "text/plain"}, want: "the type"},
		"a parameter too many":   {path: "/live?x=1", sent: point, received: good, code: 202, want: "the parameter x"},
		"a wrong parameter":      {path: "/flights?limit=0", received: `{"flights":[]}`, code: 200, want: "parameter limit"},
		"no header":              {path: "/live", received: `{}`, code: 202, header: map[string]string{"X-Request-Id": ""}, want: "no header X-Request-Id"},
		"a wrong header":         {path: "/live", received: `{}`, code: 202, header: map[string]string{"X-Request-Id": "ä"}, want: "header X-Request-Id"},
		"a member too many":      {path: "/live", sent: point, received: strings.Replace(good, "{", `{"x":1,`, 1), code: 202, want: "the body"},
		"a body of another kind": {path: "/live", sent: `{"flight_id":7}`, received: good, code: 202, want: "which was accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for name, value := range map[string]string{"Content-Type": "application/json", "X-Request-Id": "1", "ETag": `"1"`} {
					w.Header().Set(name, value)
				}
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.code)
				if c.code != http.StatusNoContent {
					_, _ = io.WriteString(w, c.received)
				}
			}))
			t.Cleanup(server.Close)
			method := http.MethodPost
			if strings.HasPrefix(c.path, "/flights") {
				method = http.MethodGet
			}
			request, err := http.NewRequest(method, server.URL+c.path, strings.NewReader(c.sent))
			require.NoError(t, err)
			request.Header.Set("Content-Type", "application/json")
			response, err := (&http.Client{Transport: Over(http.DefaultTransport)}).Do(request)
			if err == nil {
				_, err = io.ReadAll(response.Body)
				require.NoError(t, response.Body.Close())
			}
			if c.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.want)
			}
		})
	}
}
