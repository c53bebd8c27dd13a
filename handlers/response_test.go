package handlers

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// statusOf returns the status of a request without a body.
func statusOf(handler http.Handler, method, path string) int {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
	return recorder.Code
}

func TestIngestResponse_AppendJSON(t *testing.T) {
	t.Parallel()
	rejected := []lane.Rejection{{Index: 3, Field: "lat", Error: `must be "a number"`}}
	for name, c := range map[string]struct {
		response ingestResponse
		want     string
	}{
		"queued": {
			ingestResponse{status: "queued", points: 7, decoded: &lane.Decoded{}},
			`{"status":"queued","points":7,"rejected":[],"rejected_total":0}`,
		},
		"stored": {
			ingestResponse{status: "stored", points: 7, decoded: &lane.Decoded{}, direct: true, inserted: 5, duplicates: 2},
			`{"status":"stored","points":7,"inserted":5,"duplicates":2,"rejected":[],"rejected_total":0}`,
		},
		"with points left out": {
			ingestResponse{status: "queued", points: 1, decoded: &lane.Decoded{Rejected: rejected, RejectedTotal: 250}},
			`{"status":"queued","points":1,"rejected":[{"index":3,"field":"lat","error":"must be \"a number\""}],"rejected_total":250}`,
		},
		"of a scored flight": {
			ingestResponse{status: "queued", points: 1, decoded: &lane.Decoded{
				Response: lane.ResponseMember{Name: "flight_uuid", Value: "00000000-0000-4000-8000-000000000001"},
			}},
			`{"status":"queued","points":1,"flight_uuid":"00000000-0000-4000-8000-000000000001","rejected":[],"rejected_total":0}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			written := c.response.appendJSON(nil)
			assert.True(t, json.Valid(written))
			assert.Equal(t, c.want+"\n", string(written))
		})
	}
}

func TestResponses_ArePlainTextForDevicesUnlessTheyAcceptJSON(t *testing.T) {
	t.Parallel()
	flymaster := lane.All(lane.Options{})[3]
	accepted := ingestResponse{code: http.StatusAccepted, status: "queued", points: 1, decoded: &lane.Decoded{}}
	for accept, plain := range map[string]bool{
		"": true, "*/*": true, "text/plain": true, "application/json": false, "text/html, application/json;q=0.9": false,
	} {
		t.Run("Accept: "+accept, func(t *testing.T) {
			for _, response := range []struct {
				word  string
				write func(*gin.Context)
			}{
				{"OK", func(c *gin.Context) { accepted.write(c, flymaster) }},
				{"NOK", func(c *gin.Context) { (&problem{Status: 422, Title: "No usable point"}).write(c, flymaster) }},
			} {
				recorder := httptest.NewRecorder()
				c, _ := gin.CreateTestContext(recorder)
				c.Request = httptest.NewRequest(http.MethodPost, "/flymaster", nil)
				c.Request.Header.Set("Accept", accept)
				response.write(c)
				if plain {
					assert.Equal(t, response.word, recorder.Body.String(), accept)
					assert.Equal(t, "text/plain; charset=utf-8", recorder.Header().Get("Content-Type"))
				} else {
					assert.True(t, json.Valid(recorder.Body.Bytes()), accept)
					assert.Contains(t, recorder.Header().Get("Content-Type"), "json")
				}
			}
		})
	}
}

func TestRequestID_KeepsAValidIDOfTheClient(t *testing.T) {
	t.Parallel()
	for id, kept := range map[string]bool{
		"abc-1": true, "A_b.c:9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a\"b": false, "ä": false, "a=b": false,
	} {
		t.Run(id, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			c, _ := gin.CreateTestContext(recorder)
			c.Request = httptest.NewRequest(http.MethodPost, "/live", nil)
			c.Request.Header.Set("X-Request-Id", id)
			got := requestID(c)
			require.NotEmpty(t, got)
			assert.Equal(t, kept, got == id)
			assert.Equal(t, got, requestID(c), "it stays the same")
			assert.Equal(t, got, recorder.Header().Get("X-Request-Id"))
		})
	}
}
