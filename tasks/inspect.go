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
	"tracklane/internal/redisinfo"
)

// Inspector looks at Redis and the queues in it. Any number of goroutines may
// use one at the same time. Its methods return within a second or so, whatever
// Redis does.
type Inspector struct {
	client    redis.UniversalClient
	inspector *asynq.Inspector
	lanes     []*lane.Lane
}

// NewInspector returns an inspector of the lanes' queues.
func NewInspector(connections *Connections, lanes []*lane.Lane) *Inspector {
	return &Inspector{
		client:    connections.Inspect,
		inspector: asynq.NewInspectorFromRedisClient(connections.Inspect),
		lanes:     lanes,
	}
}

// Redis is what is known of the Redis server.
type Redis struct {
	Connected       bool
	Version         string
	RunID           string // another one after each start
	UsedMemory      int64  // bytes
	MaxMemory       int64  // bytes; 0 is no limit
	MaxMemoryPolicy string
	AppendOnly      bool // writes are kept in an append-only file
	Latency         time.Duration
}

// Redis asks the server how it is. A server that does not answer is not
// connected.
func (i *Inspector) Redis(ctx context.Context) Redis {
	begun := time.Now()
	text, err := i.client.Info(ctx, "server", "memory", "persistence").Result()
	if err != nil {
		// An old or an embedded server may know fewer sections.
		if err = i.client.Ping(ctx).Err(); err != nil {
			return Redis{}
		}
	}
	answer := Redis{Connected: true, Latency: time.Since(begun)}
	info := redisinfo.Parse(text)
	answer.Version, answer.RunID = info["redis_version"], info["run_id"]
	answer.UsedMemory, _ = info.Int("used_memory") // 0 when it is not known
	answer.MaxMemory, _ = info.Int("maxmemory")
	answer.MaxMemoryPolicy, answer.AppendOnly = info["maxmemory_policy"], info["aof_enabled"] == "1"
	return answer
}

// Queues returns what asynq knows of each lane's queue, in the order of the
// lanes. A queue that nothing was ever put in is empty.
func (i *Inspector) Queues() ([]*asynq.QueueInfo, error) {
	known, err := i.inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	infos := make([]*asynq.QueueInfo, len(i.lanes))
	var group errgroup.Group
	for at, l := range i.lanes {
		infos[at] = &asynq.QueueInfo{Queue: l.Name}
		if !slices.Contains(known, l.Name) {
			continue
		}
		group.Go(func() error {
			info, err := i.inspector.GetQueueInfo(l.Name)
			if err != nil {
				return fmt.Errorf("inspect the queue %s: %w", l.Name, err)
			}
			infos[at] = info
			return nil
		})
	}
	return infos, group.Wait()
}

// Processors lists the worker processes that are alive.
func (i *Inspector) Processors() ([]*asynq.ServerInfo, error) {
	servers, err := i.inspector.Servers()
	if err != nil {
		return nil, fmt.Errorf("list the worker processes: %w", err)
	}
	return servers, nil
}

// Stats adds up, by the lane's name, what the processes that share this Redis
// did.
func (i *Inspector) Stats(ctx context.Context) (map[string]metrics.Stats, error) {
	return metrics.Aggregate(ctx, i.client)
}

// Writable tells whether Redis takes writes now.
func (i *Inspector) Writable(ctx context.Context) bool { return probe(ctx, i.client) == nil }
