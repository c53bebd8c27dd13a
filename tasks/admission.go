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

// admit reports whether points may be sent to Redis now, and counts them if so.
func (a *admission) admit(points *lane.Points) bool {
	return !a.redisFailed.Load() && a.admitToFailed(points)
}

// admitToFailed is admit for points that are sent even to a Redis that failed.
func (a *admission) admitToFailed(points *lane.Points) bool {
	if a.copiesFull.Load() || !a.backpressure.admit(points.Lane) {
		return false
	}
	a.backpressure.recordEnqueued(points.Len())
	return true
}

// hasRoom reports whether Redis and the replay buffer have room for a lane's
// next points.
func (a *admission) hasRoom(l *lane.Lane) bool {
	return !a.copiesFull.Load() && a.backpressure.below(l.Priority)
}
