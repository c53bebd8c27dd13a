package tasks

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"tracklane/internal/lane"
)

// aggregator joins the small tasks of a group into batch tasks.
type aggregator struct {
	client   *asynq.Client
	lanes    map[string]*lane.Lane
	batching Batching
	logger   *slog.Logger

	incomplete sync.Map // the groups, by lane, that lacked tasks when they were last read
}

// enqueueTimeout bounds the write of a batch that Aggregate enqueues itself
// because the group holds more points than one batch task may.
const enqueueTimeout = 5 * time.Second

// Aggregate implements asynq.GroupAggregator. It joins payloads without
// decoding them. If the group holds more than one batch task may, it enqueues
// all full batches but the last itself, and returns the last; a batch that
// could not be enqueued stays with those returned, and the writer splits it. It
// returns nil if a payload that cannot be read could not be enqueued, and the first time
// that a group lacks tasks: asynq keeps the group's tasks then, and they are aggregated
// again.
//
// A crash between these batches and the acknowledgement of the group makes
// asynq aggregate the group again: the points are then queued twice, and stored
// once.
func (a *aggregator) Aggregate(group string, tasks []*asynq.Task) *asynq.Task {
	tasks, name := a.present(group, tasks)
	if len(tasks) == 0 {
		return nil
	}
	l := a.lanes[name]
	var payload []byte
	points := 0
	for _, task := range tasks {
		count, err := Count(task.Payload())
		if err != nil {
			// The handler dead-letters it, or leaves it for a newer worker. In
			// a task of its own it takes no good points with it.
			if a.enqueue(name, task.Payload()) != nil {
				return nil
			}
			continue
		}
		if l != nil && points > 0 && points+count > a.batching.MaxPoints {
			full := payload
			payload, points = nil, 0
			if a.enqueue(name, full) != nil {
				payload = full // the writer splits it
			}
		}
		payload = append(payload, task.Payload()...)
		points += count
	}
	return asynq.NewTask(taskType(name, batchTask), payload, taskOptions()...)
}

// present returns those of a group's tasks that Redis has, and the lane's name; none if
// the group is to be read again. A group names tasks that were deleted; but on a cluster
// that moves the queue to another server they may only not have arrived there yet, and
// asynq would delete them unread when they have. That is over before it can aggregate
// the group again.
func (a *aggregator) present(group string, tasks []*asynq.Task) (present []*asynq.Task, name string) {
	present = slices.DeleteFunc(slices.Clone(tasks), func(task *asynq.Task) bool { return task.Type() == "" })
	if len(present) == 0 {
		return nil, ""
	}
	name, _, _ = strings.Cut(present[0].Type(), ":")
	key := name + ":" + group
	if len(present) == len(tasks) {
		a.incomplete.Delete(key)
		return present, name
	}
	if _, again := a.incomplete.LoadOrStore(key, true); !again {
		a.logger.Warn("a group names tasks that are not there; it is read again later", "lane", name, "group", group)
		return nil, ""
	}
	a.incomplete.Delete(key)
	return present, name
}

// enqueue writes a batch task, and logs the error if that fails. asynq gives an
// aggregator no context.
func (a *aggregator) enqueue(queue string, payload []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), enqueueTimeout)
	defer cancel()
	task := asynq.NewTask(taskType(queue, batchTask), payload, taskOptions()...)
	_, err := a.client.EnqueueContext(ctx, task, asynq.Queue(queue))
	if err != nil {
		a.logger.Warn("a batch of a group could not be enqueued on its own", "lane", queue, "error", err)
	}
	return err
}
