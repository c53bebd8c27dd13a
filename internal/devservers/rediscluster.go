package devservers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tracklane/internal/redisinfo"
)

// RedisClusterOptions says how a Redis Cluster is to run.
type RedisClusterOptions struct {
	// Dir is the directory of the servers' directories, for this cluster alone.
	Dir string
	// NodeTimeout is how long a server may be silent before it counts as down.
	NodeTimeout time.Duration
	// Arguments are added to those of each server.
	Arguments []string
}

// RedisCluster is a Redis Cluster of three masters with a replica each, whose servers run
// as children of this process. Its methods may be called from several goroutines.
type RedisCluster struct {
	// Servers are the masters, and then the replicas, as they were at the start.
	Servers []*Redis
}

// ErrNoRedisCluster is returned where there is no Redis that can be part of a cluster.
var ErrNoRedisCluster = errors.New("a cluster needs redis-server or valkey-server of version 7 or newer on PATH")

const (
	clusterMasters = 3
	clusterSlots   = 16384

	// askTimeout bounds the question to one server, which may be suspended.
	askTimeout = 5 * time.Second

	// migrateTimeout bounds the move of a hundred keys.
	migrateTimeout = 10 * time.Second
)

// StartRedisCluster starts a cluster on free ports of the loopback interface and returns
// when it serves all slots and its replicas have caught up, or ctx ends. It returns
// ErrNoRedisCluster where it cannot. The caller must Kill it. Should the caller die before,
// so do the servers.
func StartRedisCluster(ctx context.Context, options RedisClusterOptions) (*RedisCluster, error) {
	_, name := findRedis(ctx)
	_, version, _ := strings.Cut(name, " ")
	major, _, _ := strings.Cut(version, ".")
	if number, err := strconv.Atoi(major); err != nil || number < 7 {
		return nil, ErrNoRedisCluster
	}
	c := &RedisCluster{}
	err := c.start(ctx, options)
	if err == nil {
		err = c.form(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a cluster in %s: %w", options.Dir, err), c.Kill())
	}
	return c, nil
}

// start starts the servers, which do not know each other yet.
func (c *RedisCluster) start(ctx context.Context, options RedisClusterOptions) error {
	for number := range 2 * clusterMasters {
		bus, err := FreePort()
		if err != nil {
			return err
		}
		server, err := StartRedis(ctx, RedisOptions{
			Dir: filepath.Join(options.Dir, strconv.Itoa(number)),
			Arguments: append([]string{
				"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus),
				"--cluster-node-timeout", strconv.FormatInt(options.NodeTimeout.Milliseconds(), 10),
				"--repl-diskless-sync-delay", "0",
			}, options.Arguments...),
		})
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, server)
		if err := c.meet(ctx, number, bus); err != nil {
			return err
		}
	}
	return nil
}

// meet makes a new server known to the first.
func (c *RedisCluster) meet(ctx context.Context, number, bus int) error {
	server := c.Servers[number]
	if _, err := server.do(ctx, "cluster", "set-config-epoch", number+1); err != nil {
		return err
	}
	if number < clusterMasters {
		first, last := number*clusterSlots/clusterMasters, (number+1)*clusterSlots/clusterMasters-1
		if _, err := server.do(ctx, "cluster", "addslotsrange", first, last); err != nil {
			return err
		}
	}
	if number == 0 {
		return nil
	}
	_, err := c.Servers[0].do(ctx, "cluster", "meet", "127.0.0.1", server.port, bus)
	return err
}

// form makes replicas of the last servers, and waits until all know each other.
func (c *RedisCluster) form(ctx context.Context) error {
	var group errgroup.Group
	for number, server := range c.Servers {
		group.Go(func() error {
			if err := server.await(ctx, func(info string) bool {
				return strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(c.Servers))+"\r") &&
					strings.Contains(info, "cluster_slots_ok:"+strconv.Itoa(clusterSlots)+"\r")
			}, "cluster", "info"); err != nil {
				return err
			}
			if number < clusterMasters {
				return nil
			}
			master, err := c.Servers[number-clusterMasters].do(ctx, "cluster", "myid")
			if err != nil {
				return err
			}
			if _, err := server.do(ctx, "cluster", "replicate", master); err != nil {
				return err
			}
			return server.AwaitReplication(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := c.AwaitReplicas(ctx); err != nil {
		return err
	}
	for _, server := range c.Servers {
		if err := server.await(ctx, func(nodes string) bool {
			return strings.Count(nodes, " slave ")+strings.Count(nodes, "myself,slave ") == len(c.Servers)-clusterMasters
		}, "cluster", "nodes"); err != nil {
			return err
		}
	}
	return nil
}

// AwaitReplicas returns when the cluster serves all slots and three of its servers are
// masters, each with a replica that has caught up. The error is that of ctx, with the last
// reason why not.
func (c *RedisCluster) AwaitReplicas(ctx context.Context) error {
	for {
		err := c.checkReplicas(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(replicationPoll):
		case <-ctx.Done():
			return fmt.Errorf("wait for the replicas of the cluster: %w: %w", ctx.Err(), err)
		}
	}
}

// checkReplicas returns nil if each master has a replica that has caught up.
func (c *RedisCluster) checkReplicas(ctx context.Context) error {
	replicas := 0
	for _, server := range c.Servers {
		state, err := server.do(ctx, "cluster", "info")
		if err != nil {
			return err
		}
		info, err := server.do(ctx, "info", "replication")
		if err != nil {
			return err
		}
		fields := redisinfo.Parse(fmt.Sprint(info))
		switch {
		case !strings.Contains(fmt.Sprint(state), "cluster_state:ok"):
			return fmt.Errorf("%s does not see all slots served", server.Address())
		case fields["role"] == "slave":
			replicas++
			if fields["master_link_status"] != "up" || fields["master_sync_in_progress"] != "0" {
				return fmt.Errorf("the replica %s has not caught up", server.Address())
			}
		case !strings.Contains(fields["slave0"], "state=online"):
			return fmt.Errorf("the master %s has no replica", server.Address())
		}
	}
	if replicas != len(c.Servers)-clusterMasters {
		return fmt.Errorf("%d servers are replicas", replicas)
	}
	return nil
}

// Kill ends all servers at once.
func (c *RedisCluster) Kill() error {
	var errs []error
	for _, server := range c.Servers {
		errs = append(errs, server.Kill())
	}
	return errors.Join(errs...)
}

// URL is what tracklane's REDIS_URL may be.
func (c *RedisCluster) URL() string {
	addresses := make([]string, len(c.Servers))
	for i, server := range c.Servers {
		addresses[i] = server.Address()
	}
	return "redis-cluster://" + strings.Join(addresses, ",")
}

// MasterOf returns the server that has a key's slot, as the first server knows that
// responds. The error is that of the last one.
func (c *RedisCluster) MasterOf(ctx context.Context, key string) (master *Redis, err error) {
	err = c.askAny(ctx, func(ctx context.Context, client *redis.Client) error {
		slot, err := client.ClusterKeySlot(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("ask for the slot of %s: %w", key, err)
		}
		masters, err := c.mastersWith(ctx, client, func(r redis.SlotRange) bool { return r.Start <= slot && slot <= r.End })
		if err == nil && len(masters) == 0 {
			err = fmt.Errorf("no server has the slot %d", slot)
		}
		if err == nil {
			master = masters[0]
		}
		return err
	})
	return master, err
}

// Masters returns the servers that have slots, as the first server knows that responds.
// The error is that of the last one.
func (c *RedisCluster) Masters(ctx context.Context) (masters []*Redis, err error) {
	err = c.askAny(ctx, func(ctx context.Context, client *redis.Client) error {
		masters, err = c.mastersWith(ctx, client, func(redis.SlotRange) bool { return true })
		return err
	})
	return masters, err
}

// askAny asks one server after another until one responds.
func (c *RedisCluster) askAny(ctx context.Context, ask func(context.Context, *redis.Client) error) (err error) {
	for _, server := range c.Servers {
		client := server.client()
		attempt, cancel := context.WithTimeout(ctx, askTimeout)
		err = ask(attempt, client)
		cancel()
		client.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// mastersWith returns the masters of slots that are wanted, in the order of Servers.
func (c *RedisCluster) mastersWith(ctx context.Context, client *redis.Client, wanted func(redis.SlotRange) bool) (masters []*Redis, err error) {
	shards, err := client.ClusterShards(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask for the shards of the cluster: %w", err)
	}
	ports := make(map[int64]bool)
	for _, shard := range shards {
		for _, node := range shard.Nodes {
			if node.Role == "master" && slices.ContainsFunc(shard.Slots, wanted) {
				ports[node.Port] = true
			}
		}
	}
	for _, server := range c.Servers {
		if ports[int64(server.port)] {
			masters = append(masters, server)
		}
	}
	return masters, nil
}

// MoveSlot moves a key's slot, with all its keys, from one master to another. A move
// that was begun goes on.
func (c *RedisCluster) MoveSlot(ctx context.Context, key string, from, to *Redis) error {
	if err := c.BeginMove(ctx, key, from, to); err != nil {
		return err
	}
	slot, err := from.do(ctx, "cluster", "keyslot", key)
	if err != nil {
		return err
	}
	for {
		keys, err := from.do(ctx, "cluster", "getkeysinslot", slot, 100)
		if err != nil {
			return err
		}
		if len(keys.([]any)) == 0 {
			break
		}
		if err := from.migrate(ctx, to, keys.([]any)...); err != nil {
			return err
		}
	}
	id, err := to.do(ctx, "cluster", "myid")
	if err != nil {
		return err
	}
	for _, server := range []*Redis{to, from} {
		if _, err := server.do(ctx, "cluster", "setslot", slot, "node", id); err != nil {
			return err
		}
	}
	return nil
}

// BeginMove begins to move a key's slot from one master to another, and moves some keys
// of the slot.
func (c *RedisCluster) BeginMove(ctx context.Context, key string, from, to *Redis, keys ...any) error {
	slot, err := from.do(ctx, "cluster", "keyslot", key)
	if err != nil {
		return err
	}
	fromID, err := from.do(ctx, "cluster", "myid")
	if err != nil {
		return err
	}
	toID, err := to.do(ctx, "cluster", "myid")
	if err != nil {
		return err
	}
	if _, err := to.do(ctx, "cluster", "setslot", slot, "importing", fromID); err != nil {
		return err
	}
	if _, err := from.do(ctx, "cluster", "setslot", slot, "migrating", toID); err != nil {
		return err
	}
	if len(keys) == 0 {
		return nil
	}
	return from.migrate(ctx, to, keys...)
}

// migrate moves keys to another server.
func (r *Redis) migrate(ctx context.Context, to *Redis, keys ...any) error {
	_, err := r.do(ctx, append([]any{"migrate", "127.0.0.1", to.port, "", 0, migrateTimeout.Milliseconds(), "keys"}, keys...)...)
	return err
}

func (r *Redis) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: r.Address(), MaxRetries: -1, DialerRetries: 1, ReadTimeout: 2 * migrateTimeout})
}

// do sends one command.
func (r *Redis) do(ctx context.Context, command ...any) (any, error) {
	client := r.client()
	defer client.Close()
	response, err := client.Do(ctx, command...).Result()
	if err != nil {
		return nil, fmt.Errorf("%v at %s: %w", command[:min(4, len(command))], r.Address(), err)
	}
	return response, nil
}

// await repeats a command until its response is as it should be.
func (r *Redis) await(ctx context.Context, isRight func(string) bool, command ...any) error {
	for {
		response, err := r.do(ctx, command...)
		if err == nil && isRight(fmt.Sprint(response)) {
			return nil
		}
		select {
		case <-time.After(replicationPoll):
		case <-ctx.Done():
			return fmt.Errorf("wait for %v at %s: %w: %w", command, r.Address(), ctx.Err(), errors.Join(err, fmt.Errorf("it is %v", response)))
		}
	}
}
