package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"tracklane/internal/lane"
	"tracklane/store"
)

// taskHandler writes the points of tasks. It handles tasks of both kinds: an
// operator may run a task of a group on its own. Any number of goroutines may
// use one at the same time.
type taskHandler struct {
	lanes    map[string]*lane.Lane
	writer   *store.Writer
	stopping <-chan struct{} // closed when the worker is to stop
	waiting  *waitingCounter
	logger   *slog.Logger
	newer    onceATask
}

// errStopping hands a task back that was not written before the worker had to
// stop.
var errStopping = errors.New("the worker is stopping")

const (
	// inPlaceRetryWindow is how long a task stays with its worker while the
	// database is down. The worker meanwhile takes no other task, so that the
	// queues are not cycled through for nothing.
	inPlaceRetryWindow = 15 * time.Second

	// The backoff between two writes doubles from the first to the second.
	initialBackoff = 100 * time.Millisecond
	maxBackoff     = 2 * time.Second
)

// ProcessTask implements asynq.Handler. It returns nil when each point of the
// task is in its table or in the dead-letter table rejected_points.
func (h *taskHandler) ProcessTask(ctx context.Context, task *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	name, _, _ := strings.Cut(task.Type(), ":")
	l := h.lanes[name]
	if l == nil {
		err := fmt.Errorf("the task type %q belongs to no lane", task.Type())
		h.logger.Error("a task was not written", "task_id", taskID, "error", err)
		return err
	}
	if err := h.write(ctx, l, taskID, task.Payload()); err != nil {
		return err
	}
	h.done(l, task.Payload())
	return nil
}

// done counts the points of a task as no longer waiting.
func (h *taskHandler) done(l *lane.Lane, payload []byte) {
	points, _ := Count(payload) // what cannot be read has none
	h.waiting.add(l, -points)
}

// write writes the points of a task, or dead-letters the payload if it cannot be
// decoded. It returns an error when neither was committed, and errNewerVersion,
// which it logs once a task, when only a newer worker can read the payload.
func (h *taskHandler) write(ctx context.Context, l *lane.Lane, taskID string, payload []byte) error {
	start := time.Now()
	logger := h.logger.With("lane", l.Name, "task_id", taskID)
	points, err := Decode(l, payload)
	if errors.Is(err, errNewerVersion) {
		if h.newer.first(taskID) {
			logger.Warn(newerVersionMessage, "bytes", len(payload), "error", err)
		}
		return err
	}
	if err != nil {
		logger.Error("a payload cannot be decoded; it is dead-lettered in rejected_points", "bytes", len(payload), "error", err)
		return h.writeWithRetry(ctx, logger, 0, func(ctx context.Context) error {
			return h.writer.RejectPayload(ctx, l, payload, err, taskID)
		})
	}
	size := points.Len()
	var result store.Result
	err = h.writeWithRetry(ctx, logger, size, func(ctx context.Context) (err error) {
		result, err = h.writer.Write(ctx, points, taskID)
		return err
	})
	if err != nil {
		return err
	}
	if len(result.Rejected) > 0 {
		logger.Error("the database refused points; they are dead-lettered in rejected_points",
			"points", size, "rejected", len(result.Rejected), "first", result.Rejected[0].String(), "request_ids", requestIDs(points))
	}
	if logger.Enabled(ctx, slog.LevelDebug) {
		logger.Debug("wrote a batch", "points", size, "inserted", result.Inserted,
			"duplicates", result.Duplicates, "duration", time.Since(start), "request_ids", requestIDs(points))
	}
	return nil
}

// writeWithRetry calls write until it succeeds, inPlaceRetryWindow is over, or the
// worker is to stop; once only when all that is missing is a place for what the
// database refused, which takes an operator. It logs the failure that it returns.
func (h *taskHandler) writeWithRetry(ctx context.Context, logger *slog.Logger, points int, write func(context.Context) error) error {
	err := h.retry(ctx, write)
	if err != nil {
		logger.Error("a batch was not written and will be tried again", "points", points, "error", err)
	}
	return err
}

func (h *taskHandler) retry(ctx context.Context, write func(context.Context) error) error {
	giveUp := time.Now().Add(inPlaceRetryWindow)
	for backoff := initialBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := write(ctx)
		if err == nil || time.Now().After(giveUp) || ctx.Err() != nil || errors.Is(err, store.ErrNotKept) {
			return err
		}
		timer := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-h.stopping:
			timer.Stop()
			return fmt.Errorf("%w: %w", errStopping, err)
		}
	}
}

// newerVersionMessage is logged during an upgrade, or after one that was undone.
const newerVersionMessage = "a newer version of tracklane queued a task; it waits for a worker of that version"

// onceATask remembers for which tasks something was done. The zero value is ready
// to use, by any number of goroutines.
type onceATask struct {
	mu   sync.Mutex
	done map[string]bool // by the task's id
}

// maxOnceATask bounds the memory of a onceATask, which then forgets all.
const maxOnceATask = 100_000

// first reports whether it is called for the first time with a task.
func (o *onceATask) first(taskID string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done[taskID] {
		return false
	}
	if o.done == nil || len(o.done) == maxOnceATask {
		o.done = make(map[string]bool)
	}
	o.done[taskID] = true
	return true
}

// maxLoggedRequests bounds a log line.
const maxLoggedRequests = 20

// requestIDs lists the requests that the points came with.
func requestIDs(points *lane.Points) []string {
	var ids []string
	for _, track := range points.Tracks {
		if len(ids) == maxLoggedRequests {
			return append(ids, fmt.Sprintf("and %d more", len(points.Tracks)-maxLoggedRequests))
		}
		ids = append(ids, track.RequestID)
	}
	return ids
}
