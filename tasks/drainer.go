package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"tracklane/internal/lane"
)

// drainer empties the queues of a Redis that is out of memory. asynq cannot:
// it moves a task on with commands that such a Redis refuses, so the tasks that
// fill it would keep themselves from being processed. Reading a task and
// deleting it needs no memory.
type drainer struct {
	inspector *Inspector
	handler   *taskHandler
	logger    *slog.Logger
}

const (
	// drainInterval is how often Redis's memory is looked at.
	drainInterval = 2 * time.Second

	// drainHighWatermark and drainLowWatermark are shares of Redis's maxmemory, in
	// thousandths: a Redis that is fuller than the first is drained until it
	// is less full than the second.
	drainHighWatermark, drainLowWatermark = 990, 900

	// drainPage is how many tasks are read at a time.
	drainPage = 10
)

// run looks after Redis until ctx ends.
func (d *drainer) run(ctx context.Context) {
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if d.memoryUsage(ctx) < drainHighWatermark {
			continue
		}
		if err := d.drain(ctx); err != nil && ctx.Err() == nil {
			d.logger.Error("Redis is out of memory and could not be drained", "error", err)
		}
	}
}

// memoryUsage is the share of maxmemory in use, in thousandths; 0 where there is
// no limit or Redis does not answer.
func (d *drainer) memoryUsage(ctx context.Context) int64 {
	redis := d.inspector.Redis(ctx)
	if !redis.Connected || redis.MaxMemory == 0 {
		return 0
	}
	return redis.UsedMemory * 1000 / redis.MaxMemory
}

// drain writes and deletes tasks until Redis has room or they are at an end.
func (d *drainer) drain(ctx context.Context) error {
	d.logger.Warn("Redis is out of memory: writing tasks past asynq until there is room")
	drained := 0
	for d.memoryUsage(ctx) >= drainLowWatermark {
		before := drained
		for _, l := range d.inspector.lanes {
			n, err := d.drainLane(ctx, l)
			drained += n
			if err != nil {
				return err
			}
		}
		if drained == before {
			break // the rest belongs to others
		}
	}
	d.logger.Info("Redis was drained", "tasks", drained)
	return nil
}

// drainLane writes and deletes some of a lane's tasks, oldest first.
func (d *drainer) drainLane(ctx context.Context, l *lane.Lane) (drained int, err error) {
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		d.inspector.inspector.ListPendingTasks, d.inspector.inspector.ListRetryTasks, d.listAggregating,
	} {
		page, err := list(l.Name, asynq.PageSize(drainPage))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return drained, fmt.Errorf("list the tasks of the queue %s: %w", l.Name, err)
		}
		for _, task := range page {
			if err := d.handler.write(ctx, l, task.ID, task.Payload); err != nil {
				return drained, err
			}
			if err := d.inspector.inspector.DeleteTask(l.Name, task.ID); err != nil {
				// There is room again and a worker has it, which then writes
				// what is written already.
				d.logger.Debug("a task that was written past asynq stays", "task_id", task.ID, "error", err)
				return drained, nil
			}
			drained++
		}
	}
	return drained, nil
}

// listAggregating lists tasks of the fullest group of a queue.
func (d *drainer) listAggregating(queue string, options ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
	groups, err := d.inspector.inspector.Groups(queue)
	if err != nil || len(groups) == 0 {
		return nil, err
	}
	fullest := slices.MaxFunc(groups, func(a, b *asynq.GroupInfo) int { return a.Size - b.Size })
	return d.inspector.inspector.ListAggregatingTasks(queue, fullest.Group, options...)
}
