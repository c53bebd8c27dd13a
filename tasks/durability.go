package tasks

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/redisinfo"
)

// durability is what a Redis has done for what it acknowledged.
type durability struct {
	runID string // another one after each start

	// safe reports that it forgets nothing that it acknowledges from now on. It is
	// true of the embedded server, too, whose data ends with this process.
	safe bool

	written bool // what it has acknowledged is in its file, and no sync is under way
	failed  bool // it could not write its file

	// replicas is how many have to have a write before it is acknowledged: those
	// that are online, and at least as many as the server asks for.
	replicas int

	offset     int64 // of its replication stream
	replicated int64 // the offset that all of its replicas have
}

// errOtherServer says that a connection led to another server than before.
var errOtherServer = errors.New("the server behind the connection is another one than before")

// askDurability asks the server at the other end of a connection. It returns an
// error when the server does not respond or has not loaded its file.
//
// A server that says that no sync is under way writes its whole buffer before
// it sends that response: it keeps the buffer back during a sync only.
func askDurability(ctx context.Context, conn slotConnection) (durability, error) {
	var info *redis.StringCmd
	var fsync, replicas *redis.MapStringStringCmd
	_, _ = conn.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		info = pipe.Info(ctx, "server", "persistence", "replication")
		fsync = pipe.ConfigGet(ctx, "appendfsync")
		replicas = pipe.ConfigGet(ctx, "min-replicas-to-write")
		return nil
	})
	var redisErr redis.Error
	switch err := info.Err(); {
	case errors.As(err, &redisErr) && strings.Contains(err.Error(), "is not supported"):
		return durability{safe: true, written: true, replicated: math.MaxInt64}, nil // the embedded server
	case err != nil:
		return durability{}, err
	}
	minReplicas, _ := strconv.Atoi(replicas.Val()["min-replicas-to-write"]) // 0 when it is not known
	fields := redisinfo.Parse(info.Val())
	return durabilityOf(fields, fsync.Val()["appendfsync"], minReplicas), nil
}

func durabilityOf(fields redisinfo.Fields, fsync string, minReplicas int) durability {
	appendOnly := fields["aof_enabled"] == "1"
	d := durability{
		runID:      fields["run_id"],
		failed:     appendOnly && fields["aof_last_write_status"] != "ok",
		replicated: math.MaxInt64,
	}
	d.written = !d.failed && (!appendOnly || fields["aof_pending_bio_fsync"] == "0")
	d.offset, _ = fields.Int("master_repl_offset") // 0 where nothing is replicated
	offsets := fields.ReplicaOffsets()
	online := len(offsets)
	for _, offset := range offsets {
		d.replicated = min(d.replicated, offset)
	}
	if online < minReplicas {
		d.replicated = -1
	}
	d.replicas = max(online, minReplicas)
	d.safe = appendOnly && fsync == "always" && d.replicas == 0
	return d
}

// clientOf returns an asynq client that enqueues through one connection.
func clientOf(conn slotConnection) (*asynq.Client, *connClient) {
	c := &connClient{conn: conn}
	return asynq.NewClientFromRedisClient(c), c
}

// connClient is one connection as asynq's client takes it, which uses these
// commands to enqueue. Any other would panic rather than go to another server. It is
// for one goroutine.
type connClient struct {
	redis.UniversalClient // nil
	conn                  slotConnection

	moved bool // the queue is at another server of the cluster
}

// SAdd adds to the set of all queues, which a cluster may have at another server; there
// registerQueues does so.
func (c *connClient) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	if c.conn.cluster != nil {
		return redis.NewIntCmd(ctx)
	}
	return c.conn.SAdd(ctx, key, members...)
}

func (c *connClient) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.observe(c.conn.Eval(ctx, script, keys, args...))
}

func (c *connClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return c.observe(c.conn.EvalSha(ctx, sha, keys, args...))
}

// observe remembers a kind of error of which asynq returns no more than the text.
func (c *connClient) observe(command *redis.Cmd) *redis.Cmd {
	_, c.moved = redis.IsMovedError(command.Err())
	return command
}
