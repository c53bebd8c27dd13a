package tasks

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// replicas holds a write back until the replicas of Redis have it: one of them may
// take over at any time, and everything that it has not received is lost then. Any
// number of goroutines may use one at the same time.
type replicas struct {
	// required is how many replicas have to have a write: unknownReplicas until
	// Redis was asked for the first time, which the replay buffer does each second.
	required atomic.Int64
}

const unknownReplicas = -1

func newReplicas() *replicas {
	r := &replicas{}
	r.required.Store(unknownReplicas)
	return r
}

// mayExist reports whether there may be a replica to wait for.
func (r *replicas) mayExist() bool { return r.required.Load() != 0 }

// await returns nil when as many replicas as are required have what was written
// through the connection. It returns an error when they do not have it by the
// deadline of ctx, which there must be.
func (r *replicas) await(ctx context.Context, conn slotConnection) error {
	required := r.required.Load()
	if required == unknownReplicas {
		state, err := askDurability(ctx, conn)
		if err != nil {
			return fmt.Errorf("ask Redis for its replicas: %w", err)
		}
		required = int64(state.replicas)
		r.required.Store(required)
	}
	if required == 0 {
		return nil
	}
	deadline, _ := ctx.Deadline()
	// Redis answers before ctx ends. It takes a timeout of 0 for no limit.
	timeout := max(time.Until(deadline)*9/10, time.Millisecond)
	have, err := conn.Wait(ctx, int(required), timeout).Result()
	if err != nil {
		return fmt.Errorf("wait for the replicas of Redis: %w", err)
	}
	if have < required {
		return fmt.Errorf("%d of %d replicas of Redis have the write after %v", have, required, timeout)
	}
	return nil
}
