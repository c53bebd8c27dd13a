package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
)

// operator presses every button of asynq's web UI, on each queue.
type operator struct {
	url    string // of the UI's API
	client http.Client

	pressed, refused int // requests that got a response, and those that were not allowed
}

const (
	buttonTimeout = 2 * time.Second

	// buttonPages is how many of the newest tasks an operator sees.
	buttonPages = 5
)

// taskStates are those of asynq's tasks that the UI has a list of, with the
// buttons of a list. Those of a group follow.
func taskStates() map[string][]string {
	return map[string][]string{
		"active_tasks":    {"cancel"},
		"pending_tasks":   {"delete", "archive"},
		"scheduled_tasks": {"delete", "run", "archive"},
		"retry_tasks":     {"delete", "run", "archive"},
		"archived_tasks":  {"delete", "run"},
		"completed_tasks": {"delete"},
	}
}

// pressButtons presses every button of each queue through an API, with the pauses
// undone when a time has come. What the UI let through that it must not is an error.
func (tb *testbed) pressButtons(ctx context.Context, through string, over time.Time) (note string, err error) {
	o := operator{url: through + "/asynqmon/api/queues", client: http.Client{Timeout: buttonTimeout}}
	lanes := lane.All(lane.Options{})
	var wrong []error
	for time.Now().Before(over) && ctx.Err() == nil {
		for _, l := range lanes {
			wrong = append(wrong, o.pressAll(ctx, l.Name))
		}
		clock.Sleep(ctx, min(time.Second, time.Until(over)))
	}
	for _, l := range lanes {
		err := o.press(ctx, http.MethodPost, l.Name+":resume", nil)
		if err != nil { // the API is down
			err = tb.resumeQueue(ctx, l.Name)
		}
		wrong = append(wrong, err)
	}
	if o.pressed > 0 && o.refused == 0 {
		wrong = append(wrong, errors.New("no button was refused: the web UI is not what this fault takes it for"))
	}
	return fmt.Sprintf("%d buttons pressed, %d refused", o.pressed, o.refused), errors.Join(wrong...)
}

// resumeQueue resumes a queue without an API. Redis may be down for a while.
func (tb *testbed) resumeQueue(ctx context.Context, queue string) error {
	return retryFor(ctx, failoverTimeout, func(ctx context.Context) error {
		return tb.queues.Del(ctx, "asynq:{"+queue+"}:paused").Err()
	})
}

// errPressed says that a button took points away.
var errPressed = errors.New("a button that takes tasks away was not refused")

// pressAll presses the buttons of a queue. An API that is down is left alone.
func (o *operator) pressAll(ctx context.Context, queue string) error {
	_ = o.press(ctx, http.MethodPost, queue+":pause", nil)
	for state, buttons := range taskStates() {
		if err := o.pressList(ctx, queue, state, buttons); err != nil {
			return err
		}
	}
	var groups struct {
		Groups []struct{ Group string }
	}
	o.get(ctx, queue+"/groups", &groups)
	for _, g := range groups.Groups {
		list := "groups/" + url.PathEscape(g.Group) + "/aggregating_tasks"
		if err := o.pressList(ctx, queue, list, []string{"delete", "run", "archive"}); err != nil {
			return err
		}
	}
	if err := o.press(ctx, http.MethodDelete, queue, nil); errors.Is(err, errPressed) {
		return err
	}
	return nil
}

// pressList presses the buttons of a list of tasks: those of a task, those of the
// tasks on the page, and those of all tasks.
func (o *operator) pressList(ctx context.Context, queue, list string, buttons []string) error {
	var page struct {
		Tasks []struct{ ID string }
	}
	o.get(ctx, fmt.Sprintf("%s/%s?size=%d", queue, list, buttonPages), &page)
	var ids []string
	for _, t := range page.Tasks {
		ids = append(ids, t.ID)
	}
	path := queue + "/" + list
	for _, button := range buttons {
		for _, id := range ids {
			method, task := http.MethodPost, path+"/"+url.PathEscape(id)+":"+button
			if button == "delete" {
				method, task = http.MethodDelete, path+"/"+url.PathEscape(id)
			}
			if err := o.press(ctx, method, task, nil); errors.Is(err, errPressed) {
				return err
			}
		}
		method := http.MethodPost
		if button == "delete" {
			method = http.MethodDelete
		}
		chosen := map[string][]string{"task_ids": ids}
		err := errors.Join(o.press(ctx, http.MethodPost, path+":batch_"+button, chosen),
			o.press(ctx, method, path+":"+button+"_all", nil))
		if errors.Is(err, errPressed) {
			return err
		}
	}
	return nil
}

// press presses one button. The error is errPressed when the UI took tasks away;
// any other says that there was no response.
func (o *operator) press(ctx context.Context, method, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("press a button: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, o.url+"/"+path, strings.NewReader(string(text)))
	if err != nil {
		return fmt.Errorf("press a button: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := o.client.Do(request)
	if err != nil {
		return fmt.Errorf("press a button: %w", err)
	}
	_ = response.Body.Close()
	o.pressed++
	takes := method == http.MethodDelete || strings.Contains(path, "delete") || strings.Contains(path, "archive_all") ||
		strings.HasSuffix(path, ":archive") || strings.HasSuffix(path, ":batch_archive")
	switch {
	case response.StatusCode == http.StatusMethodNotAllowed:
		o.refused++
	case takes && response.StatusCode < http.StatusBadRequest:
		return fmt.Errorf("%s %s: %s: %w", method, path, response.Status, errPressed)
	}
	return nil
}

// get reads a list, which stays empty when the API is down.
func (o *operator) get(ctx context.Context, path string, into any) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url+"/"+path, nil)
	if err != nil {
		return
	}
	response, err := o.client.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		_ = json.Unmarshal(text, into) // what is no list has no tasks
	}
}

// shiftClocks writes times into the queues for as long as a clock is wrong by an
// offset, as a process with that clock does: when a task was put into a group,
// when it became pending, and when the lease on it ends.
func (tb *testbed) shiftClocks(ctx context.Context, offset time.Duration, over time.Time) (note string, err error) {
	shifted := int64(0)
	for time.Now().Before(over) && ctx.Err() == nil {
		for _, l := range lane.All(lane.Options{}) {
			n, err := tb.shiftQueue(ctx, l.Name, offset)
			if err == nil { // Redis may be out of reach for another reason
				shifted += n
			}
		}
		clock.Sleep(ctx, shiftPause)
	}
	return fmt.Sprintf("%d times by %s", shifted, offset), nil
}

// shiftPause is between two looks for new times. It is shorter than the time
// after which asynq looks at a group.
const shiftPause = 100 * time.Millisecond

// shiftQueue shifts the times of a queue that no wrong clock wrote yet: those
// within a minute of now.
func (tb *testbed) shiftQueue(ctx context.Context, queue string, offset time.Duration) (int64, error) {
	const script = `
		local prefix, now, offset = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
		local shifted = 0
		local function shift(key)
			local entries = redis.call("ZRANGE", key, now - 60, now + 60, "BYSCORE", "WITHSCORES")
			for i = 1, #entries, 2 do
				redis.call("ZADD", key, entries[i + 1] + offset, entries[i])
				shifted = shifted + 1
			end
		end
		for _, group in ipairs(redis.call("SMEMBERS", prefix .. "groups")) do
			shift(prefix .. "g:" .. group)
		end
		shift(prefix .. "lease")
		for _, id in ipairs(redis.call("LRANGE", prefix .. "pending", 0, 99)) do
			local since = tonumber(redis.call("HGET", prefix .. "t:" .. id, "pending_since") or 0)
			if math.abs(since / 1e9 - now) < 60 then
				redis.call("HSET", prefix .. "t:" .. id, "pending_since", string.format("%.0f", since + offset * 1e9))
				shifted = shifted + 1
			end
		end
		return shifted`
	return tb.queues.Eval(ctx, script, []string{"asynq:{" + queue + "}:"},
		time.Now().Unix(), int64(offset/time.Second)).Int64()
}
