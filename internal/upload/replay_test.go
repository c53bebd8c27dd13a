package upload

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The recorded gaps are 20 s and 40 s, at 20 times the speed: 1 s and 2 s. The first
// request is refused once.
func TestReplay_FliesNowAndKeepsTheGaps(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.igc")
	require.NoError(t, os.WriteFile(path, []byte("AXYZ042\nHFDTE140716\nB1015304630000N00715000EA0120001234\n"+
		"B1015504630000N00715000EV0120001234\nB1016304630000N00715000EA0120001234\n"), 0o600))
	type track struct {
		FlightID string        `json:"flight_id"`
		Points   []replayPoint `json:"track_points"`
	}
	var mutex sync.Mutex
	var tracks []track
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got track
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&got))
		mutex.Lock()
		defer mutex.Unlock()
		if requests++; requests == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for _, point := range got.Points {
			assert.False(t, point.Datetime.After(time.Now()), "a point is of the future")
		}
		tracks = append(tracks, got)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"status":"queued","points":1,"rejected":[],"rejected_total":0}`)
	}))
	t.Cleanup(server.Close)
	before := time.Now().Truncate(time.Microsecond)
	var out strings.Builder
	results, err := Replay(t.Context(), []string{path}, 20, Options{URL: server.URL, Delay: time.Millisecond}, &out)
	require.NoError(t, err)
	assert.Equal(t, []Result{{Path: path, Queued: 3}}, results)
	require.Len(t, tracks, 3)
	first := tracks[0].Points[0].Datetime
	assert.False(t, first.Before(before))
	assert.Equal(t, first.Add(time.Second), tracks[1].Points[0].Datetime)
	assert.Equal(t, first.Add(3*time.Second), tracks[2].Points[0].Datetime)
	assert.Nil(t, tracks[1].Points[0].Elevation)
	assert.InDelta(t, 1234, *tracks[2].Points[0].Elevation, 0)
	assert.True(t, strings.HasPrefix(tracks[0].FlightID, "a-2"), tracks[0].FlightID)
}

func TestReplay_EndsAFlightThatIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.csv")
	require.NoError(t, os.WriteFile(path, []byte("time,lat,lon\n2026-07-14T10:15:30Z,46,7\n2026-07-14T10:15:40Z,46,7\n"), 0o600))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"title":"Not allowed","status":401,"detail":"no token"}`)
	}))
	t.Cleanup(server.Close)
	_, err := Replay(t.Context(), []string{path}, 10, Options{URL: server.URL}, io.Discard)
	require.EqualError(t, err, "1 of 1 files were not flown to their end")
	_, err = Replay(t.Context(), []string{path}, 0, Options{URL: server.URL}, io.Discard)
	require.Error(t, err)
}
