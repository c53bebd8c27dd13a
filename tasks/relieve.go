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

// reliever empties the queues of a Redis that is out of memory. asynq cannot:
// it moves a task on with commands that such a Redis refuses, so the tasks that
// fill it would keep themselves from being processed. Reading a task and
// deleting it needs no memory.
type reliever struct {
	inspector *Inspector
	handler   *handler
	logger    *slog.Logger
}

const (
	// relieveInterval is how often Redis's memory is looked at.
	relieveInterval = 2 * time.Second

	// relieveFrom and relieveTo are shares of Redis's maxmemory, in
	// thousandths: a Redis that is fuller than the first is relieved until it
	// is less full than the second.
	relieveFrom, relieveTo = 990, 900

	// relievePage is how many tasks are read at a time.
	relievePage = 10
)

// run looks after Redis until ctx ends.
func (r *reliever) run(ctx context.Context) {
	ticker := time.NewTicker(relieveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if r.fullness(ctx) < relieveFrom {
			continue
		}
		if err := r.relieve(ctx); err != nil && ctx.Err() == nil {
			r.logger.Error("Redis is out of memory and could not be relieved", "error", err)
		}
	}
}

// fullness is the share of maxmemory in use, in thousandths; 0 where there is
// no limit or Redis does not answer.
func (r *reliever) fullness(ctx context.Context) int64 {
	redis := r.inspector.Redis(ctx)
	if !redis.Connected || redis.MaxMemory == 0 {
		return 0
	}
	return redis.UsedMemory * 1000 / redis.MaxMemory
}

// relieve writes and deletes tasks until Redis has room or they are at an end.
func (r *reliever) relieve(ctx context.Context) error {
	r.logger.Warn("Redis is out of memory: writing tasks past asynq until there is room")
	relieved := 0
	for r.fullness(ctx) >= relieveTo {
		before := relieved
		for _, l := range r.inspector.lanes {
			n, err := r.relieveLane(ctx, l)
			relieved += n
			if err != nil {
				return err
			}
		}
		if relieved == before {
			break // the rest belongs to others
		}
	}
	r.logger.Info("Redis was relieved", "tasks", relieved)
	return nil
}

// relieveLane writes and deletes some of a lane's tasks, oldest first.
func (r *reliever) relieveLane(ctx context.Context, l *lane.Lane) (relieved int, err error) {
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		r.inspector.inspector.ListPendingTasks, r.inspector.inspector.ListRetryTasks, r.listAggregating,
	} {
		page, err := list(l.Name, asynq.PageSize(relievePage))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return relieved, fmt.Errorf("list the tasks of the queue %s: %w", l.Name, err)
		}
		for _, task := range page {
			if err := r.handler.write(ctx, l, task.ID, task.Payload); err != nil {
				return relieved, err
			}
			if err := r.inspector.inspector.DeleteTask(l.Name, task.ID); err != nil {
				// There is room again and a worker has it, which then writes
				// what is written already.
				r.logger.Debug("a task that was written past asynq stays", "task_id", task.ID, "error", err)
				return relieved, nil
			}
			relieved++
		}
	}
	return relieved, nil
}

// listAggregating lists tasks of the fullest group of a queue.
func (r *reliever) listAggregating(queue string, options ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
	groups, err := r.inspector.inspector.Groups(queue)
	if err != nil || len(groups) == 0 {
		return nil, err
	}
	fullest := slices.MaxFunc(groups, func(a, b *asynq.GroupInfo) int { return a.Size - b.Size })
	return r.inspector.inspector.ListAggregatingTasks(queue, fullest.Group, options...)
}
