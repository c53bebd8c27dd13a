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

// Backlog is what a lane's queue holds that is not yet in the database.
type Backlog struct {
	// Points is their number: exact as long as a state has no more than
	// sampleSize tasks, else estimated from the sample.
	Points int

	// OldestAge is the time since the acceptance of the oldest of them; 0 when
	// there is none.
	OldestAge time.Duration
}

// sampleSize is how many tasks of each state are read, oldest first.
const sampleSize = 4

// Backlog estimates a lane's backlog from the oldest tasks of its queue, whose
// state was read before. Its cost does not depend on the size of the queue.
func (i *Inspector) Backlog(ctx context.Context, l *lane.Lane, queue Queue) (Backlog, error) {
	now := time.Now()
	var b Backlog
	list := func(total int, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) error {
		if total == 0 {
			return nil
		}
		tasks, err := list(l.Name, asynq.PageSize(sampleSize))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return err
		}
		b.addSample(now, total, tasks)
		return nil
	}
	err := errors.Join(
		list(queue.Pending, i.inspector.ListPendingTasks),
		list(queue.Active, i.inspector.ListActiveTasks),
		list(queue.Retry, i.inspector.ListRetryTasks),
	)
	if err == nil && queue.Aggregating > 0 {
		err = i.sampleGroups(ctx, l, now, queue.Aggregating, &b)
	}
	if err != nil {
		return Backlog{}, fmt.Errorf("sample the backlog of the queue %s: %w", l.Name, err)
	}
	return b, nil
}

// sampleGroups adds total aggregating tasks, of which it reads those of the
// group whose first task is oldest.
func (i *Inspector) sampleGroups(ctx context.Context, l *lane.Lane, now time.Time, total int, b *Backlog) error {
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
	b.addSample(now, total, tasks)
	return nil
}

// addSample adds total tasks, of which sample are the oldest.
func (b *Backlog) addSample(now time.Time, total int, sample []*asynq.TaskInfo) {
	if len(sample) == 0 {
		return
	}
	points := 0
	for _, task := range sample {
		count, received := peek(task.Payload)
		points += count
		if count > 0 {
			b.OldestAge = max(b.OldestAge, now.Sub(received))
		}
	}
	b.Points += points * max(total, len(sample)) / len(sample)
}

// peek returns how many points a payload holds and when the first of them was
// accepted; 0 when it is not a payload of tracklane.
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

// waitingPoints returns how many points wait in all queues together.
func (i *Inspector) waitingPoints(ctx context.Context) (int, error) {
	queues, err := i.Queues()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, l := range i.lanes {
		backlog, err := i.Backlog(ctx, l, queues[l.Name])
		if err != nil {
			return 0, err
		}
		total += backlog.Points
	}
	return total, nil
}
