package tasks

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

// The types of task, behind the lane's name and a colon.
const (
	smallTask = "points" // waits in an aggregation group
	batchTask = "batch"  // is written as it is
)

func taskType(queue, kind string) string { return queue + ":" + kind }

// taskTimeout bounds one try of a task. Each transaction has a limit of its own,
// and a batch may take many of them where the database refuses points.
const taskTimeout = 10 * time.Minute

// taskOptions keeps a task alive until it is written. Retries are unlimited:
// the worker's IsFailure always reports false, so that asynq counts no retry
// and archives no task.
func taskOptions() []asynq.Option {
	return []asynq.Option{asynq.MaxRetry(math.MaxInt32), asynq.Timeout(taskTimeout)}
}

// publisher writes payloads to the lanes' queues as asynq tasks, and records
// each acknowledged one in the replay buffer and in the number of waiting points.
// Any number of goroutines may use one at the same time.
type publisher struct {
	client   *asynq.Client
	redis    redis.UniversalClient // whose connections client uses
	batching Batching
	groups   map[string]*groups // by the lane's name
	replay   *replayBuffers
	waiting  *waitingCounter
}

func newPublisher(client redis.UniversalClient, lanes []*lane.Lane, batching Batching, replay *replayBuffers, waiting *waitingCounter) *publisher {
	p := &publisher{
		client: asynq.NewClientFromRedisClient(client), redis: client,
		batching: batching, groups: make(map[string]*groups), replay: replay, waiting: waiting,
	}
	for _, l := range lanes {
		p.groups[l.Name] = newGroups(batching.MinPoints, batching.MaxDelay)
	}
	return p
}

// publishPoints encodes and publishes points, in even parts if they are more
// than a batch task holds. It passes the write of each part to do, which calls
// it. The first error ends it: the parts before are queued then.
func (p *publisher) publishPoints(points *lane.Points, do func(write func(context.Context) error) error) error {
	from := 0
	for _, size := range splitEvenly(points.Len(), p.batching.MaxPoints) {
		part := points.Slice(from, from+size)
		payload := Encode(nil, part)
		err := do(func(ctx context.Context) error { return p.publish(ctx, points.Lane, payload, size) })
		if err != nil {
			return err
		}
		from += size
	}
	return nil
}

// publish writes a payload of at most MaxPoints points: as a batch task, or if
// it holds fewer than MinPoints, as a task that waits in a group. It returns
// nil when Redis has acknowledged the write, and its replicas have it. The payload
// must not change any more: the replay buffer keeps it.
func (p *publisher) publish(ctx context.Context, l *lane.Lane, payload []byte, points int) error {
	replay := p.replay.of(l)
	var err error
	if replay.replicas.mayExist() {
		err = p.publishReplicated(ctx, replay.replicas, l, payload, points)
	} else {
		err = p.publishAlone(ctx, l, payload, points)
	}
	if err != nil {
		return err
	}
	replay.add(l, payload, points)
	return nil
}

// publishAlone publishes a payload to a Redis without replicas.
func (p *publisher) publishAlone(ctx context.Context, l *lane.Lane, payload []byte, points int) error {
	return p.publishWith(ctx, p.client, l, payload, points)
}

// publishReplicated publishes a payload and waits for the replicas. On a cluster it
// does so once more when the queue turns out to have moved to another server.
func (p *publisher) publishReplicated(ctx context.Context, replicas *replicas, l *lane.Lane, payload []byte, points int) error {
	moved, err := p.publishAndWait(ctx, replicas, l, payload, points)
	if cluster, is := p.redis.(*redis.ClusterClient); is && moved {
		findServers(ctx, cluster)
		_, err = p.publishAndWait(ctx, replicas, l, payload, points)
	}
	return err
}

// publishAndWait publishes and waits through one connection: Redis waits for what the
// connection that asks has written.
func (p *publisher) publishAndWait(ctx context.Context, replicas *replicas, l *lane.Lane, payload []byte, points int) (moved bool, err error) {
	conn, err := connect(ctx, p.redis, l)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	client, state := clientOf(conn)
	if err = p.publishWith(ctx, client, l, payload, points); err == nil {
		err = replicas.await(ctx, conn)
	}
	conn.failed(ctx, err)
	return state.moved, err
}

// republish publishes an entry of the replay buffer through one connection,
// within forceTimeout. Its points are counted again: if Redis still has the first
// task, both are done and subtract them, and if it has lost it, it may have lost
// their count with it, or not.
func (p *publisher) republish(ctx context.Context, conn slotConnection, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, forceTimeout)
	defer cancel()
	client, _ := clientOf(conn)
	return p.publishWith(ctx, client, e.lane, e.payload, e.points)
}

func (p *publisher) publishWith(ctx context.Context, client *asynq.Client, l *lane.Lane, payload []byte, points int) error {
	kind, where := batchTask, []asynq.Option{asynq.Queue(l.Name)}
	if points < p.batching.MinPoints {
		kind, where = smallTask, append(where, asynq.Group(p.groups[l.Name].next(points, time.Now())))
	}
	task := asynq.NewTask(taskType(l.Name, kind), payload, taskOptions()...)
	if _, err := client.EnqueueContext(ctx, task, where...); err != nil {
		return fmt.Errorf("enqueue %d points of the lane %s: %w", points, l.Name, err)
	}
	p.waiting.add(l, points)
	return nil
}
