package tasks

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

// lostAfter is how long a lease or an aggregation set stays as it is before its
// worker counts as crashed. A worker that lives extends its leases every 5 s,
// and aggregates a group in milliseconds.
const lostAfter = 30 * time.Second

// crashedWork gives back to a lane's queue what crashed workers had in hand:
// the batches that they wrote, and the groups that they aggregated. asynq does so
// itself, but only after two to three minutes, and by the clocks of the workers.
// crashedWork goes by how long it has watched, so that wrong clocks do not matter.
//
// A worker that only seemed to have crashed loses nothing. It deletes an
// aggregation set by its id, which is gone; the tasks of that set are in their
// group again, and are written twice and stored once. It finishes a batch only
// if that is still active; if it does so while another worker writes the batch
// again, the points are in their table already.
type crashedWork struct {
	client     redis.UniversalClient
	lane       *lane.Lane
	leases     watch
	aggregated watch
}

// recover gives back what has not changed for lostAfter, and returns the number
// of batches and of groups. It is to be called every few seconds, by one
// goroutine.
func (c *crashedWork) recover(ctx context.Context, now time.Time) (batches, groups int, err error) {
	leases, err := c.client.ZRangeWithScores(ctx, leaseKey(c.lane), 0, -1).Result()
	if err != nil {
		return 0, 0, fmt.Errorf("list the leases of the queue %s: %w", c.lane.Name, err)
	}
	for _, lease := range c.leases.unchanged(leases, now) {
		n, err := requeueLeased.Run(ctx, c.client,
			[]string{leaseKey(c.lane), activeKey(c.lane), pendingKey(c.lane), taskKeyPrefix(c.lane) + lease.Member.(string)},
			lease.Member, lease.Score, now.UnixNano()).Int()
		if err != nil {
			return batches, 0, fmt.Errorf("give back a batch of a crashed worker to the queue %s: %w", c.lane.Name, err)
		}
		batches += n
	}
	sets, err := c.client.ZRangeWithScores(ctx, aggregationSetsKey(c.lane), 0, -1).Result()
	if err != nil {
		return batches, 0, fmt.Errorf("list the aggregation sets of the queue %s: %w", c.lane.Name, err)
	}
	for _, set := range c.aggregated.unchanged(sets, now) {
		key := set.Member.(string)
		group, _, _ := strings.Cut(strings.TrimPrefix(key, groupKeyPrefix(c.lane)), ":")
		n, err := giveBackAggregated.Run(ctx, c.client,
			[]string{aggregationSetsKey(c.lane), key, groupKey(c.lane, group), groupsKey(c.lane)}, group).Int()
		if err != nil {
			return batches, groups, fmt.Errorf("give back a group of a crashed worker to the queue %s: %w", c.lane.Name, err)
		}
		groups += n
	}
	return batches, groups, nil
}

// requeueLeased puts a task back at the head of its queue unless its lease was
// extended or ended meanwhile, and returns how many tasks that were.
//
//	KEYS lease, active, pending, task
//	ARGV task id, score of the lease, time in ns
var requeueLeased = redis.NewScript(`
	if tonumber(redis.call("ZSCORE", KEYS[1], ARGV[1]) or "") ~= tonumber(ARGV[2]) then
		return 0
	end
	redis.call("ZREM", KEYS[1], ARGV[1])
	if redis.call("LREM", KEYS[2], 0, ARGV[1]) == 0 or redis.call("HEXISTS", KEYS[4], "msg") == 0 then
		return 0
	end
	redis.call("RPUSH", KEYS[3], ARGV[1])
	redis.call("HSET", KEYS[4], "state", "pending", "pending_since", ARGV[3])
	return 1`)

// giveBackAggregated puts the tasks of an aggregation set back into their group
// and lists the group, and returns how many groups that were.
//
//	KEYS aggregation sets, aggregation set, group, groups
//	ARGV group
var giveBackAggregated = redis.NewScript(`
	local tasks = redis.call("ZRANGE", KEYS[2], 0, -1, "WITHSCORES")
	for i = 1, #tasks, 2 do
		redis.call("ZADD", KEYS[3], tasks[i + 1], tasks[i])
	end
	redis.call("DEL", KEYS[2])
	redis.call("ZREM", KEYS[1], KEYS[2])
	if #tasks == 0 then
		return 0
	end
	redis.call("SADD", KEYS[4], ARGV[1])
	return 1`)

// watch finds the members of a sorted set that do not change. The zero value is
// ready to use.
type watch struct {
	since map[redis.Z]time.Time // when it was first seen with this score
}

// unchanged returns the entries that were there, with the same score, in each
// call of the last lostAfter.
func (w *watch) unchanged(entries []redis.Z, now time.Time) (unchanged []redis.Z) {
	if w.since == nil {
		w.since = make(map[redis.Z]time.Time)
	}
	present := make(map[redis.Z]bool, len(entries))
	for _, entry := range entries {
		present[entry] = true
		since, seen := w.since[entry]
		if !seen {
			w.since[entry] = now
		} else if now.Sub(since) >= lostAfter {
			unchanged = append(unchanged, entry)
		}
	}
	maps.DeleteFunc(w.since, func(entry redis.Z, _ time.Time) bool { return !present[entry] })
	return unchanged
}
