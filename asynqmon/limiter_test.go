package asynqmon

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLimiter_PassesOnOneListAtATime(t *testing.T) {
	t.Parallel()
	var lists, most, others atomic.Int32
	release := make(chan struct{})
	l := newLimiter(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/asynqmon/api/queues" {
			others.Add(1)
			return
		}
		most.Store(max(most.Load(), lists.Add(1)))
		<-release
		lists.Add(-1)
	}))
	get := func(path string) int {
		recorder := httptest.NewRecorder()
		l.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		return recorder.Code
	}
	var visitors sync.WaitGroup
	for range 8 {
		visitors.Go(func() { assert.Equal(t, http.StatusOK, get("/asynqmon/api/queues/live/pending_tasks")) })
	}
	assert.Eventually(t, func() bool { return lists.Load() == 1 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, http.StatusOK, get("/asynqmon/api/queues"), "what is no list does not wait")
	for range 8 {
		release <- struct{}{}
	}
	visitors.Wait()
	assert.EqualValues(t, 1, most.Load())
	assert.EqualValues(t, 1, others.Load())
}
