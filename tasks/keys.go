package tasks

import "tracklane/internal/lane"

// The keys of asynq v0.26 that this package reads or writes itself, because
// asynq has no function for it. They are private to asynq: the tests of
// recoverOrphanedGroups, Inspector.Waiting and registerQueues fail when
// they change.
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
