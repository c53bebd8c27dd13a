package handlers

import (
	"context"
	"sync"
	"time"

	"tracklane/internal/metrics"
	"tracklane/tasks"
)

// observation is what was seen of everything outside the process at one time.
type observation struct {
	at         time.Time
	database   databaseHealth
	redis      tasks.Redis
	queues     map[string]tasks.Queue // by lane
	waiting    []tasks.Backlog        // by lane
	processors []tasks.WorkerProcess
	figures    map[string]metrics.Stats
}

// observationLifetime is how long an observation serves everyone who asks, so
// that the cost of looking does not grow with the number of those who look.
const observationLifetime = 500 * time.Millisecond

// lookGrace is what is left of the second after checkTimeout.
const lookGrace = 50 * time.Millisecond

// observer keeps the last observation.
type observer struct {
	mu   sync.Mutex
	last observation
}

// look returns what is to be seen now, or was half a second ago. It takes
// about checkTimeout at the most.
func (s *Server) look(ctx context.Context) observation {
	s.observer.mu.Lock()
	defer s.observer.mu.Unlock()
	if time.Since(s.observer.last.at) < observationLifetime {
		return s.observer.last
	}
	// Others wait for this look too: it does not end with this request.
	s.observer.last = s.lookNow(context.WithoutCancel(ctx))
	return s.observer.last
}

// lookNow looks at all at the same time.
func (s *Server) lookNow(ctx context.Context) observation {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	o := observation{waiting: make([]tasks.Backlog, len(s.Lanes))}
	queues := make(chan queueObservation, 1)
	go func() { queues <- s.lookAtQueues(ctx) }()
	database := make(chan databaseHealth, 1)
	go func() { database <- s.checkDatabase(ctx) }()

	// Each answers by the time that ctx ends, but for a Redis that falls silent
	// half-way: that one counts as down a moment later.
	o.database = <-database
	grace := time.NewTimer(time.Until(deadline) + lookGrace)
	defer grace.Stop()
	select {
	case seen := <-queues:
		o.redis, o.queues, o.processors, o.figures = seen.redis, seen.queues, seen.processors, seen.figures
		if seen.waiting != nil {
			o.waiting = seen.waiting
		}
	case <-grace.C:
	}
	o.at = time.Now()
	if o.figures == nil { // then this process's own are all that is known
		o.figures = s.Recorder.Stats(o.at)
	}
	return o
}

type queueObservation struct {
	redis      tasks.Redis
	queues     map[string]tasks.Queue
	waiting    []tasks.Backlog
	processors []tasks.WorkerProcess
	figures    map[string]metrics.Stats
}

// lookAtQueues returns what Redis tells; a Redis that fails half-way is not
// connected.
func (s *Server) lookAtQueues(ctx context.Context) queueObservation {
	seen := queueObservation{redis: s.Inspector.Redis(ctx)}
	if !seen.redis.Connected {
		return seen
	}
	if err := s.lookIntoQueues(ctx, &seen); err != nil {
		s.Logger.Warn("the queues could not be looked at; Redis counts as down", "error", err)
		return queueObservation{}
	}
	return seen
}

func (s *Server) lookIntoQueues(ctx context.Context, seen *queueObservation) (err error) {
	if seen.queues, err = s.Inspector.Queues(); err != nil {
		return err
	}
	if seen.processors, err = s.Inspector.Workers(); err != nil {
		return err
	}
	if seen.figures, err = s.Inspector.Stats(ctx); err != nil {
		return err
	}
	seen.waiting = make([]tasks.Backlog, len(s.Lanes))
	for i, l := range s.Lanes {
		if seen.waiting[i], err = s.Inspector.Backlog(ctx, l, seen.queues[l.Name]); err != nil {
			return err
		}
	}
	return nil
}
