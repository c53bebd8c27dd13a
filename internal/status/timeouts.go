package status

import (
	"time"

	"tracklane/tasks"
)

// The bounds of one collection. Each has to be shorter than the next, so that a
// dependency that hangs counts as down while the others' state is still
// returned in time.
const (
	// inspectTimeout bounds one command to Redis.
	inspectTimeout = tasks.InspectTimeout

	// checkTimeout bounds everything that is asked of a dependency.
	checkTimeout = 800 * time.Millisecond

	// collectGrace is added to checkTimeout for a Redis that hangs between two
	// commands: asynq's inspector takes no context, so that only giving up
	// waiting ends it.
	collectGrace = 50 * time.Millisecond

	// responseTimeout is how soon /health and the other endpoints made of a
	// Snapshot have to respond, whatever is down.
	responseTimeout = time.Second
)

// statusTTL is how long a Snapshot is returned to everyone who asks, so that
// the cost of collecting does not grow with their number.
const statusTTL = 500 * time.Millisecond
