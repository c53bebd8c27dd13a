package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tracklane/internal/clock"
	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// clusterArguments are what docs/deploy.md asks of each server of a cluster.
func clusterArguments() []string {
	return []string{"--min-replicas-to-write", "1", "--min-replicas-max-lag", replicaMaxLag}
}

// clusterFaultSpecs are the faults of a run with a Redis Cluster: processes talk to its
// servers without a proxy, whose addresses they learn from the cluster.
func clusterFaultSpecs() []faultSpec {
	const second = time.Second
	alone := []kind{redisFull, redisDiskFull, redisDiskStall, stopInOutage, redisFailover}
	var specs []faultSpec
	for _, s := range faultSpecs() {
		s.targets = slices.DeleteFunc(slices.Clone(s.targets), func(name string) bool { return strings.HasSuffix(name, " to "+redisName) })
		if slices.Contains(s.targets, redisName) && (s.kind == kill || s.kind == terminate) {
			s.min, s.max = 3*second, 12*second // a replica takes over after some four seconds
		}
		if !slices.Contains(alone, s.kind) {
			specs = append(specs, s)
		}
	}
	return append(specs, faultSpec{slotMoved, []string{redisName}, second, 2 * second, 4, nil})
}

// strikeCluster strikes the master of one of the queues, and returns when each master
// has a replica again.
func (tb *testbed) strikeCluster(ctx context.Context, f fault, over time.Time) (note string, err error) {
	lanes := lane.All(lane.Options{})
	queue := lanes[f.draw()%len(lanes)].Name
	master, err := tb.masterOf(ctx, queue)
	if err != nil {
		return "", err
	}
	lasting := func() { clock.Sleep(ctx, time.Until(over)) }
	switch f.Kind {
	case kill:
		err = master.Kill()
		lasting()
		err = errors.Join(err, restart(ctx, master))
	case terminate:
		err = master.Stop(ctx)
		lasting()
		err = errors.Join(err, restart(ctx, master))
	case pause:
		err = pauseTarget(master, lasting)
	default:
		note, err = tb.moveQueue(ctx, queue, master, f.draw())
		lasting()
	}
	if err != nil {
		return note, err
	}
	whole, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	if err = tb.Cluster.AwaitReplicas(whole); err != nil {
		return note, err
	}
	if f.Kind != slotMoved {
		next, err := tb.masterOf(ctx, queue)
		if err != nil {
			return "", err
		}
		note = "a replica took over"
		if next == master {
			note = "it stayed the master"
		}
	}
	return fmt.Sprintf("the master of the queue %s, %s", queue, note), nil
}

// masterOf returns the server that has a queue.
func (tb *testbed) masterOf(ctx context.Context, queue string) (*devservers.Redis, error) {
	return tb.Cluster.MasterOf(ctx, "{"+queue+"}")
}

// moveQueue moves the slot of a queue from its master to another.
func (tb *testbed) moveQueue(ctx context.Context, queue string, from *devservers.Redis, draw int) (note string, err error) {
	masters, err := tb.Cluster.Masters(ctx)
	if err != nil {
		return "", err
	}
	others := slices.DeleteFunc(masters, func(master *devservers.Redis) bool { return master == from })
	if len(others) == 0 {
		return "", errors.New("the cluster has no other master")
	}
	start := time.Now()
	moving, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	err = tb.Cluster.MoveSlot(moving, "{"+queue+"}", from, others[draw%len(others)])
	return fmt.Sprintf("in %s", time.Since(start).Round(time.Millisecond)), err
}
