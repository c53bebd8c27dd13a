package tasks

import (
	"sync/atomic"

	"tracklane/internal/lane"
)

// admission alone decides whether points may be sent to Redis. It asks nobody:
// the breaker and the replay buffer, which come later on the way of a point,
// tell it of each change, and the monitor tells the backpressure. Any number of
// goroutines may use one at the same time.
type admission struct {
	redisFailed  atomic.Bool // and no probe has succeeded since
	copiesFull   atomic.Bool // the replay buffer has no room
	backpressure *backpressure
}

// admit reports whether points may be sent to Redis now. If so, they count as
// waiting until they are released.
func (a *admission) admit(points *lane.Points) bool {
	return !a.redisFailed.Load() && a.admitToFailed(points)
}

// admitToFailed is admit for points that are sent even to a Redis that failed.
func (a *admission) admitToFailed(points *lane.Points) bool {
	return !a.copiesFull.Load() && a.backpressure.admit(points)
}

// release is called once for points that were admitted: when their write has ended.
func (a *admission) release(points *lane.Points) { a.backpressure.release(points) }

// hasRoom reports whether Redis and the replay buffer have room for a lane's
// next points.
func (a *admission) hasRoom(l *lane.Lane) bool {
	return !a.copiesFull.Load() && a.backpressure.below(l.Priority)
}
