package tasks

import (
	"fmt"

	"github.com/hibiken/asynq"
)

// Archived lists tasks that an operator put into asynq's archive, at most
// limit a lane; tracklane itself archives none.
func (i *Inspector) Archived(limit int) ([]*asynq.TaskInfo, error) {
	queues, err := i.Queues()
	if err != nil {
		return nil, err
	}
	var archived []*asynq.TaskInfo
	for _, queue := range queues {
		if queue.Archived == 0 {
			continue
		}
		tasks, err := i.inspector.ListArchivedTasks(queue.Queue, asynq.PageSize(limit))
		if err != nil {
			return nil, fmt.Errorf("list the archived tasks of the queue %s: %w", queue.Queue, err)
		}
		archived = append(archived, tasks...)
	}
	return archived, nil
}

// RunArchived puts every archived task back into its queue, and returns how
// many there were.
func (i *Inspector) RunArchived() (int, error) {
	queues, err := i.Queues()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, queue := range queues {
		if queue.Archived == 0 {
			continue
		}
		n, err := i.inspector.RunAllArchivedTasks(queue.Queue)
		if err != nil {
			return total, fmt.Errorf("run the archived tasks of the queue %s: %w", queue.Queue, err)
		}
		total += n
	}
	return total, nil
}
