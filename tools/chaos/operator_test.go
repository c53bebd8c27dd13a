package main

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// webUI is one with a task in each list, which allows what allow says.
func webUI(t *testing.T, allow func(*http.Request) bool) (url string, pressed *sync.Map) {
	t.Helper()
	pressed = new(sync.Map)
	ui := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write([]byte(`{"tasks":[{"id":"1"}],"groups":[{"group":"g"}]}`))
			return
		}
		pressed.Store(r.Method+" "+r.URL.Path, true)
		if !allow(r) {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	t.Cleanup(ui.Close)
	return ui.URL, pressed
}

func TestPressButtons_PressesAllAndResumesTheQueues(t *testing.T) {
	t.Parallel()
	url, pressed := webUI(t, func(*http.Request) bool { return false })
	_, err := new(testbed).pressButtons(t.Context(), url, time.Now().Add(time.Millisecond))
	require.NoError(t, err)
	for _, button := range []string{
		"DELETE /asynqmon/api/queues/live", "POST /asynqmon/api/queues/upload:pause", "POST /asynqmon/api/queues/upload:resume",
		"POST /asynqmon/api/queues/live/active_tasks/1:cancel", "DELETE /asynqmon/api/queues/live/pending_tasks/1",
		"DELETE /asynqmon/api/queues/live/pending_tasks:delete_all", "POST /asynqmon/api/queues/live/retry_tasks:archive_all",
		"POST /asynqmon/api/queues/scoring/archived_tasks:batch_run",
		"POST /asynqmon/api/queues/flymaster/groups/g/aggregating_tasks/1:archive",
	} {
		_, found := pressed.Load(button)
		assert.True(t, found, button)
	}
}

func TestPressButtons_FindsOneThatTakesTasksAway(t *testing.T) {
	t.Parallel()
	url, _ := webUI(t, func(r *http.Request) bool {
		return r.URL.Path == "/asynqmon/api/queues/live/pending_tasks:archive_all"
	})
	_, err := new(testbed).pressButtons(t.Context(), url, time.Now().Add(time.Millisecond))
	require.ErrorIs(t, err, errPressed)
}

func TestShiftQueue_WritesTheTimesOfAWrongClock(t *testing.T) {
	t.Parallel()
	options, err := redis.ParseURL(servers.Redis(t).URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close()
	queue := asynq.NewClientFromRedisClient(client)
	_, err = queue.EnqueueContext(t.Context(), asynq.NewTask("points", nil), asynq.Queue("live"), asynq.Group("g"))
	require.NoError(t, err)
	pending, err := queue.EnqueueContext(t.Context(), asynq.NewTask("points", nil), asynq.Queue("live"))
	require.NoError(t, err)

	tb := &testbed{queues: client}
	for _, shifted := range []int64{2, 0} { // what is wrong stays as it is
		n, err := tb.shiftQueue(t.Context(), "live", 10*time.Minute)
		require.NoError(t, err)
		assert.Equal(t, shifted, n)
	}
	want := time.Now().Add(10 * time.Minute)
	entries := client.ZRangeWithScores(t.Context(), "asynq:{live}:g:g", 0, -1).Val()
	require.Len(t, entries, 1)
	assert.InDelta(t, want.Unix(), entries[0].Score, 60)
	since, err := client.HGet(t.Context(), "asynq:{live}:t:"+pending.ID, "pending_since").Int64()
	require.NoError(t, err)
	assert.InDelta(t, want.UnixNano(), since, float64(time.Minute))
}
