package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// response is what a request got.
type response struct {
	code   int
	header http.Header
	text   string
	took   time.Duration

	Status        any    `json:"status"` // a number in a problem
	Points        int    `json:"points"`
	Inserted      *int   `json:"inserted"`
	Duplicates    *int   `json:"duplicates"`
	FlightUUID    string `json:"flight_uuid"`
	RejectedTotal int    `json:"rejected_total"`
	Rejected      []struct {
		Index int
		Field string
		Error string
	} `json:"rejected"`
	Title string `json:"title"`
}

func post(t *testing.T, url, contentType, body string, header ...string) response {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	start := time.Now()
	got, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	r := response{code: got.StatusCode, header: got.Header, text: string(text), took: time.Since(start)}
	if strings.Contains(got.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(text, &r), "%s", text)
	}
	return r
}

func postJSON(t *testing.T, url, body string) response {
	t.Helper()
	return post(t, url, "application/json", body)
}

// flight makes a body of n points, a second apart.
func flight(id string, n int) string {
	return `{"flight_id":"` + id + `","track_points":[` + trackPoints(n) + `]}`
}

func trackPoints(n int) string {
	var points []string
	for i := range n {
		points = append(points, fmt.Sprintf(`{"datetime":"2026-07-14T%02d:%02d:%02dZ","lat":46.5,"lon":7.25}`, i/3600, i/60%60, i%60))
	}
	return strings.Join(points, ",")
}

func flymasterFile(lines ...string) string {
	return "12345, 0\r\n" + strings.Join(lines, "\r\n") + "\r\nEOF\r\n"
}

const (
	flymasterLine = "1783958400, 1783958399, 46.5, 7.25, 1234, 11.5, 270"
	scoringTrack  = `{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3}`
	goodPoint     = `{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2}`
)

// do makes a request and returns the code and the body that it gets.
func do(t *testing.T, request *http.Request) (code int, text string) {
	t.Helper()
	got, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	return got.StatusCode, string(body)
}

// sessionOf is a number that LK8000 makes of a user's.
func sessionOf(user int) string { return fmt.Sprint(1<<31 | 77<<24 | user) }
