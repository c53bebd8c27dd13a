package tasks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
)

// InspectTimeout bounds each command of an Inspector: asynq's inspector takes
// no context. Package status fits its own timeouts to this one.
const InspectTimeout = 700 * time.Millisecond

// Inspector reads the state of Redis and of the queues in it, in types of this
// package. Its methods return an error when Redis cannot be read, and wait for
// each command InspectTimeout at the most. Any number of goroutines may use one
// at the same time.
type Inspector struct {
	client    redis.UniversalClient
	inspector *asynq.Inspector
	lanes     []*lane.Lane
	now       func() time.Time
}

// NewInspector returns an inspector of the lanes' queues.
func NewInspector(connections *Connections, lanes []*lane.Lane) *Inspector {
	return &Inspector{
		client:    connections.Inspect,
		inspector: asynq.NewInspectorFromRedisClient(connections.Inspect),
		lanes:     lanes,
		now:       time.Now,
	}
}

// Queue is the state of a lane's queue. Its zero value is a queue that nothing
// was ever put in.
type Queue struct {
	// The numbers of tasks, by asynq's states.
	Pending, Active, Aggregating, Scheduled, Retry, Archived int

	// Processed and Failed count the tasks since the queue exists. No task of
	// tracklane fails.
	Processed, Failed int

	Paused      bool
	Latency     time.Duration // how long the oldest pending task has waited
	MemoryUsage int64         // bytes, as asynq estimates them
}

// Queues returns the state of the lanes' queues, by the lane's name.
func (i *Inspector) Queues() (map[string]Queue, error) {
	known, err := i.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	infos := make([]*asynq.QueueInfo, len(i.lanes))
	var group errgroup.Group
	for at, l := range i.lanes {
		if !slices.Contains(known, l.Name) {
			continue
		}
		group.Go(func() (err error) {
			if infos[at], err = i.inspector.GetQueueInfo(l.Name); err != nil {
				return fmt.Errorf("inspect the queue %s: %w", l.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	queues := make(map[string]Queue, len(i.lanes))
	for at, l := range i.lanes {
		queues[l.Name] = queueOf(infos[at])
	}
	return queues, nil
}

func queueOf(info *asynq.QueueInfo) Queue {
	if info == nil {
		return Queue{}
	}
	return Queue{
		Pending: info.Pending, Active: info.Active, Aggregating: info.Aggregating,
		Scheduled: info.Scheduled, Retry: info.Retry, Archived: info.Archived,
		Processed: info.ProcessedTotal, Failed: info.FailedTotal,
		Paused: info.Paused, Latency: info.Latency, MemoryUsage: info.MemoryUsage,
	}
}

// WorkerProcess is a process that works on the queues.
type WorkerProcess struct {
	ID          string
	Host        string
	PID         int
	Concurrency int            // how many batches it writes at the same time, at the most
	Queues      map[string]int // the queues' weights, by name
	StartedAt   time.Time
	Status      string // asynq's word for it
	Active      int    // how many batches it writes now
}

// Workers lists the worker processes that are alive.
func (i *Inspector) Workers() ([]WorkerProcess, error) {
	servers, err := i.inspector.Servers()
	if err != nil {
		return nil, fmt.Errorf("list the worker processes: %w", err)
	}
	workers := make([]WorkerProcess, 0, len(servers))
	for _, s := range servers {
		workers = append(workers, WorkerProcess{
			ID: s.ID, Host: s.Host, PID: s.PID, Concurrency: s.Concurrency, Queues: s.Queues,
			StartedAt: s.Started, Status: s.Status, Active: len(s.ActiveWorkers),
		})
	}
	return workers, nil
}

// Stats adds up, by the lane's name, what the processes that share this Redis
// did.
func (i *Inspector) Stats(ctx context.Context) (map[string]metrics.Stats, error) {
	return metrics.Aggregate(ctx, i.client)
}

// DistressCalls returns the distress calls that the processes that share this Redis
// got in the last day, with those of this process.
func (i *Inspector) DistressCalls(ctx context.Context, own []metrics.DistressCall) ([]metrics.DistressCall, error) {
	return metrics.AllDistressCalls(ctx, i.client, own, time.Now())
}

// Writable reports whether Redis accepts writes now; a cluster, those to each queue.
func (i *Inspector) Writable(ctx context.Context) bool {
	probed := i.lanes
	if !isCluster(i.client) {
		probed = probed[:1]
	}
	var group errgroup.Group
	for _, l := range probed {
		group.Go(func() error { return probe(ctx, i.client, l) })
	}
	return group.Wait() == nil
}
