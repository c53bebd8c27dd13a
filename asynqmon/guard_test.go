package asynqmon_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/asynqmon"
	"tracklane/internal/lane"
	"tracklane/tasks"
)

// buttons are the requests behind each button of the UI that removes tasks
// from the queue "live" or moves them to its archive: method, and path below
// /asynqmon/api/queues/live with %s for a task's id.
func buttons() []struct{ method, path string } {
	var all []struct{ method, path string }
	add := func(method, path string) { all = append(all, struct{ method, path string }{method, path}) }
	for _, list := range []string{
		"pending_tasks", "scheduled_tasks", "retry_tasks", "archived_tasks", "completed_tasks", "groups/7/aggregating_tasks",
	} {
		add(http.MethodDelete, "/"+list+"/%s")
		add(http.MethodDelete, "/"+list+":delete_all")
		add(http.MethodPost, "/"+list+":batch_delete")
		add(http.MethodPost, "/"+list+"/%s:archive")
		add(http.MethodPost, "/"+list+":archive_all")
		add(http.MethodPost, "/"+list+":batch_archive")
	}
	add(http.MethodDelete, "")
	// The same, written so that a comparison with the plain path fails.
	add(http.MethodDelete, "/pending_tasks%%3Adelete_all")
	add(http.MethodPost, "/pending_tasks%%3Aarchive_all")
	add(http.MethodPost, "/pending_tasks/%s%%3Aarchive")
	return all
}

// fillStates puts one task into each state that a task of a queue can wait in,
// and returns their ids.
func (i *installation) fillStates(t *testing.T) []string {
	t.Helper()
	payload := tasks.Encode(nil, track(i.lanes["live"], lane.TextField("flight-1"), 1))
	client := asynq.NewClientFromRedisClient(i.redis)
	inspector := asynq.NewInspectorFromRedisClient(i.redis)
	var ids []string
	for name, option := range map[string]asynq.Option{
		"pending": asynq.Queue("live"), "scheduled": asynq.ProcessIn(time.Hour),
		"aggregating": asynq.Group("7"), "archived": asynq.Queue("live"),
	} {
		_, err := client.EnqueueContext(t.Context(), asynq.NewTask("live:points", payload),
			asynq.Queue("live"), asynq.TaskID(name), option)
		require.NoError(t, err)
		ids = append(ids, name)
	}
	require.NoError(t, inspector.ArchiveTask("live", "archived"))
	return ids
}

func TestNew_DeletesAndArchivesNoTask(t *testing.T) {
	i := start(t, asynqmon.Options{})
	ids := i.fillStates(t)
	before, err := asynq.NewInspectorFromRedisClient(i.redis).GetQueueInfo("live")
	require.NoError(t, err)

	for _, button := range buttons() {
		paths := []string{button.path}
		if strings.Contains(button.path, "%s") {
			paths = nil
			for _, id := range ids {
				paths = append(paths, fmt.Sprintf(button.path, id))
			}
		}
		for _, path := range paths {
			body := strings.NewReader(`{"task_ids":["` + strings.Join(ids, `","`) + `"]}`)
			request, err := http.NewRequestWithContext(t.Context(), button.method,
				i.url+"/asynqmon/api/queues/live"+strings.ReplaceAll(path, "%%", "%"), body)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			reason, err := io.ReadAll(response.Body)
			require.NoError(t, response.Body.Close())
			require.NoError(t, err)
			assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, "%s %s", button.method, path)
			assert.Contains(t, string(reason), "acknowledged points", "%s %s", button.method, path)
		}
	}
	after, err := asynq.NewInspectorFromRedisClient(i.redis).GetQueueInfo("live")
	require.NoError(t, err)
	before.Timestamp, after.Timestamp = time.Time{}, time.Time{}
	before.Latency, after.Latency = 0, 0
	assert.Equal(t, before, after)
}

func TestNew_RunsTasks(t *testing.T) {
	i := start(t, asynqmon.Options{})
	i.fillStates(t)
	for _, path := range []string{
		"/archived_tasks/archived:run", "/scheduled_tasks:run_all", "/groups/7/aggregating_tasks:run_all",
	} {
		t.Run(path, func(t *testing.T) {
			response, body := i.send(t, http.MethodPost, "/asynqmon/api/queues/live"+path)
			assert.Less(t, response.StatusCode, 300, "%s: %s", path, body)
		})
	}
	info, err := asynq.NewInspectorFromRedisClient(i.redis).GetQueueInfo("live")
	require.NoError(t, err)
	assert.Equal(t, 4, info.Pending)
}
