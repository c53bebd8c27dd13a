package tasks

import (
	"context"
	"log/slog"
	"strings"
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
}

// enqueueTimeout bounds the write of a batch that Aggregate enqueues itself
// because the group holds more points than one batch task may.
const enqueueTimeout = 5 * time.Second

// Aggregate implements asynq.GroupAggregator. It joins payloads without
// decoding them. If the group holds more than one batch task may, it enqueues
// all full batches but the last itself, and returns the last; a batch that
// could not be enqueued stays with those returned, and the writer splits it. It
// returns nil if a payload that cannot be read could not be enqueued: asynq keeps
// the group's tasks then, and they are aggregated again.
//
// A crash between these batches and the acknowledgement of the group makes
// asynq aggregate the group again: the points are then queued twice, and stored
// once.
func (a *aggregator) Aggregate(_ string, tasks []*asynq.Task) *asynq.Task {
	name, _, _ := strings.Cut(tasks[0].Type(), ":")
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
