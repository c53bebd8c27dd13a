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
	// Points is their number: what the processes had counted a second ago.
	Points int

	// OldestAge is the time since the acceptance of the oldest of them; 0 when
	// there is none.
	OldestAge time.Duration
}

// sampleSize is how many tasks of each state are read, oldest first.
const sampleSize = 4

// Backlog returns a lane's backlog. The state of its queue was read before. The
// cost does not depend on the size of the queue.
func (i *Inspector) Backlog(ctx context.Context, l *lane.Lane, queue Queue) (Backlog, error) {
	points, err := i.client.Get(ctx, waitingKey(l)).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		return Backlog{}, fmt.Errorf("read the number of waiting points of the queue %s: %w", l.Name, err)
	}
	sampled, err := i.sample(ctx, l, queue)
	if err != nil {
		return Backlog{}, err
	}
	return Backlog{Points: max(0, points), OldestAge: sampled.oldestAge}, nil
}

// estimateWaiting estimates how many points wait in a lane's queue, from its oldest
// tasks: for a queue that a version which did not count has filled.
func (i *Inspector) estimateWaiting(ctx context.Context, l *lane.Lane) (int, error) {
	queues, err := i.Queues()
	if err != nil {
		return 0, err
	}
	sampled, err := i.sample(ctx, l, queues[l.Name])
	return sampled.points, err
}

// sample is what the oldest tasks of a queue tell.
type sample struct {
	points    int // in all tasks, estimated
	oldestAge time.Duration
}

// sample reads the oldest tasks of each state.
func (i *Inspector) sample(ctx context.Context, l *lane.Lane, queue Queue) (sample, error) {
	now := time.Now()
	var s sample
	list := func(total int, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) error {
		if total == 0 {
			return nil
		}
		tasks, err := list(l.Name, asynq.PageSize(sampleSize))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return err
		}
		s.add(now, total, tasks)
		return nil
	}
	err := errors.Join(
		list(queue.Pending, i.inspector.ListPendingTasks),
		list(queue.Active, i.inspector.ListActiveTasks),
		list(queue.Retry, i.inspector.ListRetryTasks),
	)
	if err == nil && queue.Aggregating > 0 {
		err = i.sampleGroups(ctx, l, now, queue.Aggregating, &s)
	}
	if err != nil {
		return sample{}, fmt.Errorf("sample the backlog of the queue %s: %w", l.Name, err)
	}
	return s, nil
}

// sampleGroups adds total aggregating tasks, of which it reads those of the
// group whose first task is oldest.
func (i *Inspector) sampleGroups(ctx context.Context, l *lane.Lane, now time.Time, total int, s *sample) error {
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
	s.add(now, total, tasks)
	return nil
}

// add adds total tasks, of which the oldest are given.
func (s *sample) add(now time.Time, total int, oldest []*asynq.TaskInfo) {
	if len(oldest) == 0 {
		return
	}
	points := 0
	for _, task := range oldest {
		count, received := peek(task.Payload)
		points += count
		if count > 0 {
			s.oldestAge = max(s.oldestAge, now.Sub(received))
		}
	}
	s.points += points * max(total, len(oldest)) / len(oldest)
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
