package tasks

import "tracklane/internal/lane"

// The keys of asynq v0.26 that this package reads or writes itself, because
// asynq has no function for it. They are private to asynq: the tests of
// recoverOrphanedGroups, orphanSearch, crashedWork, correctScores, Inspector.Backlog
// and registerQueues fail when they change.
const queuesKey = "asynq:queues" // a set of the names of all queues

// queuePrefix begins every key of a lane's queue. The braces make them share a
// hash slot, so that a script may use several of them on a Redis Cluster.
func queuePrefix(l *lane.Lane) string { return "asynq:{" + l.Name + "}:" }

// groupsKey is a set of the names of the lane's groups that asynq aggregates.
func groupsKey(l *lane.Lane) string { return queuePrefix(l) + "groups" }

// groupKeyPrefix and the name of a group are its key, a sorted set of task ids
// with the Unix time at which each was added.
func groupKeyPrefix(l *lane.Lane) string { return queuePrefix(l) + "g:" }

func groupKey(l *lane.Lane, group string) string { return groupKeyPrefix(l) + group }

// aggregationSetsKey is a sorted set of the keys of the sets whose tasks a worker
// is joining to a batch. The key of such a set is that of its group, a colon and
// a UUID.
func aggregationSetsKey(l *lane.Lane) string { return queuePrefix(l) + "aggregation_sets" }

// pendingKey and activeKey are lists of task ids, and leaseKey is a sorted set of
// the ids of the active ones with the Unix time at which each lease ends.
func pendingKey(l *lane.Lane) string { return queuePrefix(l) + "pending" }
func activeKey(l *lane.Lane) string  { return queuePrefix(l) + "active" }
func leaseKey(l *lane.Lane) string   { return queuePrefix(l) + "lease" }

// retryKey is a sorted set of task ids with the Unix time of each one's next try.
func retryKey(l *lane.Lane) string { return queuePrefix(l) + "retry" }

// taskKeyPrefix and a task id are the key of the task's hash: its message "msg",
// its "state" in asynq's words, "pending_since" in ns and its "group".
func taskKeyPrefix(l *lane.Lane) string { return queuePrefix(l) + "t:" }

// waitingKey is a lane's number of points that wait in Redis. It is tracklane's own,
// in the queue's hash slot.
func waitingKey(l *lane.Lane) string { return "tracklane:{" + l.Name + "}:waiting" }

// probeKey is written to find out whether a queue's server accepts writes. It is
// tracklane's own, in the queue's hash slot.
func probeKey(l *lane.Lane) string { return "tracklane:{" + l.Name + "}:probe" }

// absentKey never exists. A script that names it among its keys, behind others of the
// queue, is refused while a cluster moves the queue to another server: each of the two has
// only some of the keys then, and a list that is missing would look empty. The old server
// responds ASK or TRYAGAIN, and the new one TRYAGAIN.
func absentKey(l *lane.Lane) string { return "tracklane:{" + l.Name + "}:absent" }
