package upload

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRun_SendsAgainWhatWasNotTakenAndNamesWhatWasRefused(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	for name, text := range map[string]string{"a/1.igc": "first", "b/1.igc": "second", "b/2.gpx": "bad", "b/readme.md": "no flight"} {
		path := filepath.Join(directory, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // the test compares what came
		switch n := requests.Add(1); {
		case n <= 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case string(text) == "bad":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"title":"No usable point","status":422,"detail":"because","rejected_total":3}`)
		default:
			assert.Contains(t, []string{"a-1", "b-1"}, r.URL.Query().Get("flight_id"))
			assert.Equal(t, "Bearer secret", r.Header.Get("Authorization"))
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"status":"stored","points":5,"inserted":4,"duplicates":1,"rejected":[],"rejected_total":0}`)
		}
	}))
	t.Cleanup(server.Close)
	var out strings.Builder
	results, err := Run(t.Context(), []string{directory}, Options{URL: server.URL, Token: "secret", Delay: time.Millisecond}, &out)
	require.EqualError(t, err, "1 of 3 files were not accepted")
	assert.Len(t, results, 3)
	assert.Contains(t, out.String(), "No usable point: because")
	assert.Contains(t, out.String(), "stored 8, duplicates 2")
}

// A member of a zip file that cannot be read makes the whole a failure, and so does a
// server that is silent. Two zip files of one name have no flight_id.
func TestRun_FailsForDamagedMembersAndSilentServers(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	for _, name := range []string{"a/day.zip", "b/day.ZIP"} {
		path := filepath.Join(directory, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(name), 0o600))
	}
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.URL.Query(), "flight_id")
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 1 {
			<-r.Context().Done() // nothing comes of it
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"status":"queued","points":5,"rejected_total":2,"rejected":[
			{"file":"a.igc","index":3,"field":"lat","error":"is 0"},{"file":"b.gpx","index":0,"field":"file","error":"ends early"}]}`)
	}))
	t.Cleanup(server.Close)
	var out strings.Builder
	options := Options{URL: server.URL, Delay: time.Millisecond, silence: 500 * time.Millisecond}
	results, err := Run(t.Context(), []string{directory}, options, &out)
	require.EqualError(t, err, "2 of 2 files were not accepted whole")
	require.Len(t, results, 2)
	assert.Equal(t, 1, results[0].Damaged)
	assert.Contains(t, out.String(), "b.gpx: ends early")
	assert.EqualValues(t, 3, requests.Load(), "the first is sent again")
}

func TestFlightIDs_TellFilesApartByTheirPaths(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ want map[string]string }{
		"of different names":     {map[string]string{"a/1.igc": "", "a/2.igc": "", "3.igc": ""}},
		"in two directories":     {map[string]string{"a/1.igc": "a-1", "b/1.igc": "b-1", "2.igc": ""}},
		"in directories alike":   {map[string]string{"a/x/1.igc": "a-x-1", "b/x/1.igc": "b-x-1", "c/1.igc": "c-1"}},
		"of a name like a path":  {map[string]string{"x/1.igc": "x-1", "1.igc": "1", "2.igc": ""}},
		"zip files are not told": {map[string]string{"a/1.zip": "", "b/1.zip": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := flightIDs(slices.Collect(maps.Keys(c.want)))
			for path, id := range c.want {
				assert.Equal(t, id, got[path], path)
			}
		})
	}
}
