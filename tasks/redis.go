package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Connections are the pools through which a process talks to Redis, one for
// each way of waiting: a request gives up soon, a worker is patient, and who
// looks at the queues must not take connections from either.
type Connections struct {
	Enqueue redis.UniversalClient
	Work    redis.UniversalClient
	Inspect redis.UniversalClient
}

const (
	// workTimeout is how long a worker waits for Redis's answer. A command
	// given up may have been carried out, and a task it took off the queue then
	// waits for its lease to run out.
	workTimeout = 10 * time.Second

	// errorBackoff is how long a worker's command that could not reach Redis
	// takes at the least: asynq repeats such a command at once, and would keep
	// a core busy while Redis is away.
	errorBackoff = 250 * time.Millisecond
)

// Connect makes the pools for the server that options name, of together about
// maxConnections connections. It does not connect: each command does that for
// itself, and fails as long as Redis is away. A command ends when its context
// does, and on its own after a time that its pool says.
func Connect(options redis.UniversalOptions, maxConnections int) *Connections {
	options.MaxRetries = -1   // what to do after a failure is decided by the caller
	options.DialerRetries = 1 // likewise
	options.PipelinePoolSize = -1
	options.ContextTimeoutEnabled = true
	options.PoolSize = max(1, maxConnections/3)
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	pool := func(timeout time.Duration) redis.UniversalClient {
		own := options
		own.DialTimeout, own.ReadTimeout, own.WriteTimeout, own.PoolTimeout = timeout, timeout, timeout, timeout
		return redis.NewUniversalClient(&own)
	}
	connections := &Connections{Enqueue: pool(forceTimeout), Work: pool(workTimeout), Inspect: pool(InspectTimeout)}
	connections.Work.AddHook(backoffHook{})
	return connections
}

// Close closes the pools.
func (c *Connections) Close() error {
	return errors.Join(c.Enqueue.Close(), c.Work.Close(), c.Inspect.Close())
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
		var redisErr redis.Error
		if err == nil || errors.As(err, &redisErr) && !isTransient(redisErr) {
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

// isTransient reports whether Redis answers that it cannot work at present.
func isTransient(redisErr redis.Error) bool {
	for _, prefix := range []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "MISCONF"} {
		if redis.HasErrorPrefix(redisErr, prefix) {
			return true
		}
	}
	return false
}
