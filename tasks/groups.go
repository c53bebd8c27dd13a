package tasks

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// groupCount is how many aggregation groups a lane has. asynq aggregates one
// batch of a group a second, so this many carry some 30,000 requests a second.
// The names are a fixed set, so that recoverOrphanedGroups finds every group.
const groupCount = 64

// groupName is the name of a lane's i-th aggregation group.
func groupName(i int) string { return strconv.Itoa(i) }

// groups chooses the aggregation group of each small task: one group is filled
// to a batch's worth of points before the next is used, so that little traffic
// is still coalesced and much is spread. Any number of goroutines may use one at
// the same time.
type groups struct {
	fill  int           // points after which a group is full
	delay time.Duration // after which asynq has emptied a group in any case

	mu      sync.Mutex
	current int
	points  int       // in the current group
	since   time.Time // when it became the current one
}

// newGroups starts with a random group, so that several processes seldom fill
// the same one.
func newGroups(fill int, delay time.Duration) *groups {
	return &groups{fill: fill, delay: delay, current: rand.IntN(groupCount)}
}

// next returns the group for a task of this many points.
func (g *groups) next(points int, now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case now.Sub(g.since) > g.delay:
		g.points, g.since = 0, now
	case g.points >= g.fill:
		g.current = (g.current + 1) % groupCount
		g.points, g.since = 0, now
	}
	g.points += points
	return groupName(g.current)
}
