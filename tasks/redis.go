package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Connections are the pools through which a process talks to Redis. They differ
// in their timeouts, and none can take connections from another.
type Connections struct {
	Enqueue redis.UniversalClient // for requests, which give up soon
	Work    redis.UniversalClient // for workers, which are patient
	Inspect redis.UniversalClient // for who reads the state of Redis and the queues
	Browse  redis.UniversalClient // for the queues' web UI, whose visitors the others must not feel
}

const (
	// workTimeout is how long a worker waits for Redis's response. A command
	// that was given up may have been executed; a task that it took off the
	// queue then waits until its lease expires.
	workTimeout = 10 * time.Second

	// browseConnections is how many connections the queues' web UI has.
	browseConnections = 2

	// errorBackoff is the least time that a worker's command takes when it could
	// not reach Redis: asynq repeats such a command at once, and would keep a
	// core busy while Redis is down.
	errorBackoff = 250 * time.Millisecond
)

// Connect makes the pools for the server that options name, of about
// maxConnections connections together; of a cluster, for each server. It does not connect: each command does,
// and fails while Redis is down. A command ends when its context does, and at
// the latest after the timeout of its pool.
func Connect(options redis.UniversalOptions, maxConnections int) *Connections {
	options.MaxRetries = -1   // the caller decides what to do after a failure
	options.DialerRetries = 1 // likewise
	options.PipelinePoolSize = -1
	options.ContextTimeoutEnabled = true
	options.PoolSize = max(1, maxConnections/3)
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	pool := func(timeout time.Duration) redis.UniversalClient {
		own := options
		own.DialTimeout, own.ReadTimeout, own.WriteTimeout, own.PoolTimeout = timeout, timeout, timeout, timeout
		switch {
		case own.IsClusterMode:
			return newClusterClient(own, timeout)
		case own.MasterName != "":
			return redis.NewFailoverClient(own.Failover())
		default:
			return redis.NewClient(own.Simple())
		}
	}
	connections := &Connections{Enqueue: pool(forceTimeout), Work: pool(workTimeout), Inspect: pool(InspectTimeout)}
	options.PoolSize = browseConnections
	connections.Browse = pool(InspectTimeout)
	connections.Work.AddHook(backoffHook{})
	return connections
}

// Close closes the pools. It returns their errors joined.
func (c *Connections) Close() error {
	return errors.Join(c.Enqueue.Close(), c.Work.Close(), c.Inspect.Close(), c.Browse.Close())
}

// backoffHook makes each command that could not reach Redis take errorBackoff.
type backoffHook struct{}

func (backoffHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (backoffHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (backoffHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		err := next(ctx, command)
		if !isFailure(err) {
			return err
		}
		pause := time.NewTimer(errorBackoff)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		return err
	}
}

// isTransient reports whether an error that Redis returned says that it cannot
// serve at present.
func isTransient(redisErr redis.Error) bool {
	for _, prefix := range []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "MISCONF", "NOREPLICAS"} {
		if redis.HasErrorPrefix(redisErr, prefix) {
			return true
		}
	}
	return false
}
