package handlers

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/lane"
)

func TestServer_ReadsLargeBodiesAtABoundedRate(t *testing.T) {
	t.Parallel()
	_, base, _ := newTestServer(t, lane.All(lane.Options{}))
	const size, uploads = 2 << 20, 4
	start := time.Now()
	var clients sync.WaitGroup
	for range uploads {
		clients.Go(func() {
			got := send(t, http.MethodPost, base+"/upload", strings.NewReader(padded("f", size)))
			assert.Equal(t, http.StatusCreated, got.code, got.text)
		})
	}
	live := time.Now()
	got := send(t, http.MethodPost, base+"/live", strings.NewReader(padded("f", unpacedBytes/2)))
	assert.Equal(t, http.StatusCreated, got.code, got.text)
	assert.Less(t, time.Since(live), 2*time.Second, "a small body does not wait")
	clients.Wait()
	paced := float64(uploads*(size-unpacedBytes) - chunkSize)
	assert.Greater(t, time.Since(start).Seconds(), 0.9*paced/(largeRate*float64(runtime.GOMAXPROCS(0))))
}
