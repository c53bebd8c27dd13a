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

// enqueueTimeout bounds the writing of a batch that is not the group's last.
const enqueueTimeout = 5 * time.Second

// Aggregate implements asynq.GroupAggregator. It joins payloads as they are.
// What a group brought beyond one batch it enqueues in batches of its own; if
// that fails they stay in the task it returns, and the writer cuts it.
//
// A crash between those batches and the acknowledgement of the group makes
// asynq aggregate the group again: the points are written twice, and stored
// once.
func (a *aggregator) Aggregate(_ string, tasks []*asynq.Task) *asynq.Task {
	name, _, _ := strings.Cut(tasks[0].Type(), ":")
	l := a.lanes[name]
	var payload []byte
	points := 0
	for _, task := range tasks {
		count, err := Count(task.Payload())
		if err != nil {
			// The handler puts it aside: on its own it takes no good points
			// with it.
			a.enqueue(name, task.Payload(), &payload)
			continue
		}
		if l != nil && points > 0 && points+count > a.batching.MaxPoints {
			full := payload
			payload, points = nil, 0
			a.enqueue(name, full, &payload)
		}
		payload = append(payload, task.Payload()...)
		points += count
	}
	return asynq.NewTask(name+":"+batchTask, payload, taskOptions()...)
}

// enqueue writes a batch of its own, or puts it back before what is still to
// be joined.
func (a *aggregator) enqueue(queue string, payload []byte, rest *[]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), enqueueTimeout)
	defer cancel()
	task := asynq.NewTask(queue+":"+batchTask, payload, taskOptions()...)
	if _, err := a.client.EnqueueContext(ctx, task, asynq.Queue(queue)); err != nil {
		a.logger.Warn("a group's batch could not be enqueued on its own and stays with the rest",
			"lane", queue, "error", err)
		*rest = append(payload, *rest...)
	}
}
