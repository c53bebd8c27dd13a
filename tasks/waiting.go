package tasks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

// Waiting is what a lane's queue holds that is not yet in the database.
type Waiting struct {
	// Points is how many there are: exactly while there are few tasks, else
	// their number times the points of those that were looked at.
	Points int

	// Oldest is how long ago the point that waits longest was accepted; 0 when
	// none waits.
	Oldest time.Duration
}

// sampleSize is how many tasks of a kind are looked at, oldest first.
const sampleSize = 4

// Waiting looks at the oldest tasks of a lane's queue. Its cost does not grow
// with the queue.
func (i *Inspector) Waiting(ctx context.Context, l *lane.Lane, info *asynq.QueueInfo) (Waiting, error) {
	now := time.Now()
	var w Waiting
	list := func(total int, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) error {
		if total == 0 {
			return nil
		}
		tasks, err := list(l.Name, asynq.PageSize(sampleSize))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return err
		}
		w.count(now, total, tasks)
		return nil
	}
	err := errors.Join(
		list(info.Pending, i.inspector.ListPendingTasks),
		list(info.Active, i.inspector.ListActiveTasks),
		list(info.Retry, i.inspector.ListRetryTasks),
	)
	if err == nil && info.Aggregating > 0 {
		err = i.countGroups(ctx, l, now, info.Aggregating, &w)
	}
	if err != nil {
		return Waiting{}, fmt.Errorf("look at what waits in the queue %s: %w", l.Name, err)
	}
	return w, nil
}

// countGroups looks at the group whose first task is oldest.
func (i *Inspector) countGroups(ctx context.Context, l *lane.Lane, now time.Time, total int, w *Waiting) error {
	first, err := i.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for g := range groupCount {
			pipe.ZRangeWithScores(ctx, groupKey(l, groupName(g)), 0, 0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	oldest, score := -1, 0.0
	for g, command := range first {
		entries := command.(*redis.ZSliceCmd).Val()
		if len(entries) > 0 && (oldest < 0 || entries[0].Score < score) {
			oldest, score = g, entries[0].Score
		}
	}
	if oldest < 0 {
		return nil
	}
	tasks, err := i.inspector.ListAggregatingTasks(l.Name, groupName(oldest), asynq.PageSize(sampleSize))
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		return err
	}
	w.count(now, total, tasks)
	return nil
}

// count adds total tasks of which sample are the oldest.
func (w *Waiting) count(now time.Time, total int, sample []*asynq.TaskInfo) {
	if len(sample) == 0 {
		return
	}
	points := 0
	for _, task := range sample {
		count, received := peek(task.Payload)
		points += count
		if count > 0 {
			w.Oldest = max(w.Oldest, now.Sub(received))
		}
	}
	w.Points += points * max(total, len(sample)) / len(sample)
}

// peek returns how many points a payload holds and when the first of them was
// accepted; 0 when it is not one of ours.
func peek(payload []byte) (points int, received time.Time) {
	points, err := Count(payload)
	if err != nil || points == 0 {
		return 0, time.Time{}
	}
	first := reader{rest: payload}
	block, _, err := first.nextBlock()
	if err != nil || len(block.rest) < 8 {
		return 0, time.Time{}
	}
	return points, lane.TimeOf(int64(binary.LittleEndian.Uint64(block.rest)))
}
