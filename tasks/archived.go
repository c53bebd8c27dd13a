package tasks

import (
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// ArchivedTask is a task in asynq's archive. An operator put it there: tracklane
// archives none.
type ArchivedTask struct {
	ID       string
	Lane     string
	Error    string    // of its last try; empty when it was never tried
	FailedAt time.Time // the last time; zero when it never failed
}

// Archived lists archived tasks, at most limit a lane. It returns an error when
// Redis cannot be read.
func (i *Inspector) Archived(limit int) ([]ArchivedTask, error) {
	queues, err := i.Queues()
	if err != nil {
		return nil, err
	}
	var archived []ArchivedTask
	for _, l := range i.lanes {
		if queues[l.Name].Archived == 0 {
			continue
		}
		tasks, err := i.inspector.ListArchivedTasks(l.Name, asynq.PageSize(limit))
		if err != nil {
			return nil, fmt.Errorf("list the archived tasks of the queue %s: %w", l.Name, err)
		}
		for _, task := range tasks {
			archived = append(archived, ArchivedTask{
				ID: task.ID, Lane: l.Name, Error: task.LastErr, FailedAt: task.LastFailedAt,
			})
		}
	}
	return archived, nil
}

// RunArchived puts every archived task back into its queue and returns how many
// there were. When it returns an error, Redis could not be read or written, and
// the number is that of the tasks put back before.
func (i *Inspector) RunArchived() (int, error) {
	queues, err := i.Queues()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, l := range i.lanes {
		if queues[l.Name].Archived == 0 {
			continue
		}
		n, err := i.inspector.RunAllArchivedTasks(l.Name)
		if err != nil {
			return total, fmt.Errorf("run the archived tasks of the queue %s: %w", l.Name, err)
		}
		total += n
	}
	return total, nil
}
