package handlers

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return compressed.String()
}

func TestBodies_AreDecompressedUpToTheLanesLimit(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	_, url, pool := newTestServer(t, lanes)
	bomb := zipped(t, strings.Repeat(" ", int(lanes[0].MaxBody)+1))
	require.Less(t, len(bomb), 1<<20)
	truncated := zipped(t, ownTracksPoint)
	truncated = truncated[:len(truncated)-4]
	for name, c := range map[string]struct {
		path, encoding, body string
		want                 int
	}{
		"an app":               {"/live/owntracks", "gzip", zipped(t, ownTracksPoint), http.StatusOK},
		"a lane":               {"/live", "GZIP", zipped(t, padded("a", 10)), http.StatusCreated},
		"empty":                {"/live/owntracks", "gzip", "", http.StatusOK},
		"bomb to an app":       {"/live/overland", "gzip", bomb, http.StatusRequestEntityTooLarge},
		"bomb to a lane":       {"/live", "gzip", bomb, http.StatusRequestEntityTooLarge},
		"not gzip":             {"/live/owntracks", "gzip", ownTracksPoint, http.StatusBadRequest},
		"truncated":            {"/live/owntracks", "gzip", truncated, http.StatusBadRequest},
		"unknown, to an app":   {"/live/owntracks", "br", ownTracksPoint, http.StatusUnsupportedMediaType},
		"unknown, to a lane":   {"/live", "br", padded("b", 10), http.StatusUnsupportedMediaType},
		"twice, to an app":     {"/live/overland", "gzip, gzip", zipped(t, overlandBatch), http.StatusUnsupportedMediaType},
		"zstd is not accepted": {"/live", "zstd", padded("c", 10), http.StatusUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, "POST", url+c.path, strings.NewReader(c.body), "Content-Type", "application/json", "Content-Encoding", c.encoding)
			assert.Equal(t, c.want, got.code, got.text)
		})
	}
	var points int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM live_track_points").Scan(&points))
	assert.Equal(t, 2, points)
}
