package handlers

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/lane"
)

func TestServer_IsWatchedByWhoHearsAllTheTimeThatItIsReady(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	begin := time.Now()
	assert.False(t, s.Watched())
	assert.Equal(t, http.StatusOK, send(t, http.MethodGet, base+"/readyz", nil).code)
	assert.False(t, s.probes.watched(begin), "somebody waited for its start")
	assert.Equal(t, http.StatusOK, send(t, http.MethodGet, base+"/readyz", nil).code)
	assert.True(t, s.probes.watched(begin))

	end := time.Now()
	s.Stop()
	for range 2 {
		assert.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodGet, base+"/readyz", nil).code)
	}
	assert.False(t, s.probes.watched(end.Add(watchTime)), "nobody sends requests for such a response")
}
