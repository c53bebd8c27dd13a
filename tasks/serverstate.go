package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/redisinfo"
)

// Redis is what is known of a Redis server, or of all masters of a cluster together.
type Redis struct {
	Connected       bool
	Err             error // why it is not connected
	Version         string
	RunID           string // another one after each start
	UsedMemory      int64  // bytes
	MaxMemory       int64  // bytes; 0 is no limit
	MaxMemoryPolicy string
	AppendOnly      bool   // writes are kept in an append-only file
	AppendFsync     string // when that file is synced; empty where CONFIG is forbidden
	Replicas        int    // that are connected
	MinReplicas     string // min-replicas-to-write; empty where CONFIG is forbidden
	Latency         time.Duration
	ClockOffset     time.Duration // how far this process's clock is ahead of Redis's, give or take Latency

	// Address is where a master of a cluster is, as host:port; empty for a server
	// that stands alone.
	Address string

	// Masters are those of a cluster, ordered by their addresses; empty if it is none.
	// The fields above are then their sums, or those of the first.
	Masters []Redis
}

// Servers are the masters of a cluster, or else the server itself.
func (r Redis) Servers() []Redis {
	if len(r.Masters) > 0 {
		return r.Masters
	}
	return []Redis{r}
}

// memoryUsage is the fraction of maxmemory in use, by the server that has least left; 0
// where there is no limit or Redis did not respond.
func (r Redis) memoryUsage() (usage float64) {
	for _, server := range r.Servers() {
		if server.MaxMemory > 0 {
			usage = max(usage, float64(server.UsedMemory)/float64(server.MaxMemory))
		}
	}
	return usage
}

// errNoMaster says that a cluster has no server that could have a queue.
var errNoMaster = errors.New("the cluster has no master")

// Redis returns the state of the server. A server that does not respond is not
// connected, which Err explains, and a field that it does not report is zero. A
// cluster is connected while all its masters are.
func (i *Inspector) Redis(ctx context.Context) Redis {
	cluster, is := i.client.(*redis.ClusterClient)
	if !is {
		return i.askServer(ctx, i.client)
	}
	ctx, cancel := context.WithTimeout(ctx, InspectTimeout)
	defer cancel()
	var mu sync.Mutex
	var masters []Redis
	err := forEachMaster(ctx, cluster, func(master *redis.Client) {
		state := i.askServer(ctx, master)
		state.Address = master.Options().Addr
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, state)
	})
	if err == nil && len(masters) == 0 {
		err = errNoMaster
	}
	if err != nil {
		return Redis{Err: err}
	}
	return stateOfCluster(masters)
}

// stateOfCluster joins the states of a cluster's masters.
func stateOfCluster(masters []Redis) Redis {
	slices.SortFunc(masters, func(a, b Redis) int { return cmp.Compare(a.Address, b.Address) })
	all := masters[0]
	all.Address, all.Masters = "", masters
	all.UsedMemory, all.MaxMemory, all.Replicas = 0, 0, 0
	runIDs, unlimited := []string{}, false
	for _, m := range masters {
		if !m.Connected {
			all.Connected = false
			if all.Err == nil || m.Address == masters[0].Address {
				all.Err = fmt.Errorf("the master %s: %w", m.Address, m.Err)
			}
		}
		runIDs = append(runIDs, m.RunID)
		unlimited = unlimited || m.MaxMemory == 0
		all.UsedMemory += m.UsedMemory
		all.MaxMemory += m.MaxMemory
		all.Replicas += m.Replicas
		all.AppendOnly = all.AppendOnly && m.AppendOnly
		all.Latency = max(all.Latency, m.Latency)
		if m.ClockOffset.Abs() > all.ClockOffset.Abs() {
			all.ClockOffset = m.ClockOffset
		}
	}
	if unlimited {
		all.MaxMemory = 0
	}
	all.RunID = strings.Join(runIDs, " ")
	return all
}

// askServer returns the state of one server.
func (i *Inspector) askServer(ctx context.Context, client redis.Cmdable) Redis {
	start := time.Now()
	asked := i.now()
	var info *redis.StringCmd
	var clock *redis.TimeCmd
	var appendFsync, minReplicas *redis.MapStringStringCmd
	// Each command has an error of its own.
	_, _ = client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		info = pipe.Info(ctx, "server", "memory", "persistence", "replication")
		minReplicas = pipe.ConfigGet(ctx, "min-replicas-to-write")
		appendFsync = pipe.ConfigGet(ctx, "appendfsync")
		clock = pipe.Time(ctx)
		return nil
	})
	text, err := info.Result()
	if err != nil {
		// An old or an embedded server may know fewer sections.
		if err = client.Ping(ctx).Err(); err != nil {
			return Redis{Err: err}
		}
	}
	state := Redis{Connected: true, Latency: time.Since(start)}
	if at, err := clock.Result(); err == nil {
		state.ClockOffset = asked.Add(state.Latency / 2).Sub(at)
	}
	fields := redisinfo.Parse(text)
	state.Version, state.RunID = fields["redis_version"], fields["run_id"]
	state.UsedMemory, _ = fields.Int("used_memory") // 0 when it is not known
	state.MaxMemory, _ = fields.Int("maxmemory")
	state.MaxMemoryPolicy, state.AppendOnly = fields["maxmemory_policy"], fields["aof_enabled"] == "1"
	state.AppendFsync = appendFsync.Val()["appendfsync"]
	replicas, _ := fields.Int("connected_slaves")
	state.Replicas, state.MinReplicas = int(replicas), minReplicas.Val()["min-replicas-to-write"]
	return state
}
