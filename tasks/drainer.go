package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

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

	memory fraction      // of Redis's maxmemory that is in use
	full   chan struct{} // holds a token when memory reached the high watermark
}

func newDrainer(inspector *Inspector, handler *taskHandler, logger *slog.Logger) *drainer {
	return &drainer{inspector: inspector, handler: handler, logger: logger, full: make(chan struct{}, 1)}
}

const (
	// drainHighWatermark and drainLowWatermark are fractions of Redis's
	// maxmemory: when its use reaches the first, Redis is drained until it is
	// below the second.
	drainHighWatermark, drainLowWatermark = 0.99, 0.9

	// drainPageSize is how many tasks are read at a time.
	drainPageSize = 10
)

// observe is told each reading, and does not wait for the drain.
func (d *drainer) observe(_ context.Context, r reading) {
	d.memory.store(r.memoryUsage())
	if r.memoryUsage() >= drainHighWatermark {
		select {
		case d.full <- struct{}{}:
		default: // it is known already
		}
	}
}

// run drains Redis whenever it is full, until ctx ends.
func (d *drainer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.full:
		}
		if d.memory.load() < drainHighWatermark {
			continue // the drain before this one has made room
		}
		if err := d.drain(ctx); err != nil && ctx.Err() == nil {
			d.logger.Error("Redis is out of memory and could not be drained", "error", err)
		}
	}
}

// drain writes and deletes tasks until Redis has room or no task is left. It
// may go on for a second after that: that is how old a reading can be.
func (d *drainer) drain(ctx context.Context) error {
	d.logger.Warn("Redis is out of memory: writing tasks without asynq until there is room")
	drained := 0
	for d.memory.load() >= drainLowWatermark {
		before := drained
		for _, l := range d.inspector.lanes {
			n, err := d.drainLane(ctx, l)
			drained += n
			if err != nil {
				return err
			}
		}
		if drained == before {
			break // something other than tasks fills Redis
		}
	}
	d.logger.Info("Redis was drained", "tasks", drained)
	return nil
}

// drainLane writes and deletes some of a lane's tasks, oldest first.
func (d *drainer) drainLane(ctx context.Context, l *lane.Lane) (drained int, err error) {
	for _, list := range []listFunc{
		d.inspector.inspector.ListPendingTasks, d.inspector.inspector.ListRetryTasks, d.listAggregating,
	} {
		n, err := d.drainList(ctx, l, list)
		drained += n
		if err != nil {
			return drained, err
		}
	}
	return drained, nil
}

// listFunc lists tasks of a queue, as the methods of asynq's inspector do.
type listFunc func(queue string, options ...asynq.ListOption) ([]*asynq.TaskInfo, error)

// drainList writes and deletes the tasks of one page: the first with a task that
// this version can read.
func (d *drainer) drainList(ctx context.Context, l *lane.Lane, list listFunc) (drained int, err error) {
	for number := 1; drained == 0 && ctx.Err() == nil; number++ {
		page, err := list(l.Name, asynq.PageSize(drainPageSize), asynq.Page(number))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return 0, fmt.Errorf("list the tasks of the queue %s: %w", l.Name, err)
		}
		if len(page) == 0 {
			return 0, nil
		}
		for _, task := range page {
			switch err := d.handler.write(ctx, l, task.ID, task.Payload); {
			case errors.Is(err, errNewerVersion):
				continue
			case err != nil:
				return drained, err
			}
			if err := d.inspector.inspector.DeleteTask(l.Name, task.ID); err != nil {
				// There is room again, and a worker has taken the task: it will
				// write the same points, which are stored once.
				d.logger.Debug("a task that was written without asynq was not deleted", "task_id", task.ID, "error", err)
				return drained, nil
			}
			d.handler.done(l, task.Payload)
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
