package tasks

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// startCluster starts a Redis Cluster, and skips the test where there can be none.
func startCluster(t *testing.T) (*devservers.RedisCluster, *Connections) {
	t.Helper()
	cluster := servers.RedisCluster(t)
	addresses := strings.Split(strings.TrimPrefix(cluster.URL(), "redis-cluster://"), ",")
	connections := Connect(redis.UniversalOptions{Addrs: addresses, IsClusterMode: true}, 50)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	return cluster, connections
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster, connections := startCluster(t)
	t.Run("maintains the queues of every master", func(t *testing.T) { testMaintenance(t, connections) })
	t.Run("tells what each master is like", func(t *testing.T) { testMasters(t, cluster, connections) })
	t.Run("follows a slot that has moved", func(t *testing.T) { testMovedSlot(t, cluster, connections) })
	t.Run("keeps copies by server", func(t *testing.T) { testCopies(t, cluster, connections) })
	t.Run("refuses half a queue", func(t *testing.T) { testHalfMoved(t, cluster, connections) })
}

func testMaintenance(t *testing.T, connections *Connections) {
	lanes := lane.All(lane.Options{})
	client := connections.Work
	require.NoError(t, registerQueues(t.Context(), client, []string{"live", "upload"}))
	assert.ElementsMatch(t, []string{"live", "upload"}, client.SMembers(t.Context(), queuesKey).Val())
	for _, l := range lanes {
		addListedAndOrphaned(t, client, l)
	}
	search := newOrphanSearch(client, lanes, slog.New(slog.DiscardHandler))
	_, err := search.lock(t.Context())
	require.NoError(t, err)
	found, err := search.pass(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 7*len(lanes), found)
	for _, l := range lanes {
		require.NoError(t, client.Del(t.Context(), groupsKey(l)).Err())
		groups, err := recoverOrphanedGroups(t.Context(), client, l)
		require.NoError(t, err)
		assert.Equal(t, 2, groups)
		shiftScores(t, client, groupKey(l, "4"), time.Hour+time.Since(time.Unix(1, 0)))
		corrected, err := correctScores(t.Context(), client, l, time.Now)
		require.NoError(t, err)
		assert.Equal(t, 1, corrected)
		archived, err := runArchived(t.Context(), client, l, time.Now())
		require.NoError(t, err)
		assert.Equal(t, 1, archived)
		_, _, err = (&crashedWork{client: client, lane: l}).recover(t.Context(), time.Now())
		require.NoError(t, err)
		_, err = (&waitingHealer{client: client, lane: l}).heal(t.Context())
		require.NoError(t, err)
	}
	flushCluster(t, client)
	inspector := NewInspector(connections, lanes)
	waiting := newWaitingCounter(client, lanes, inspector.estimateWaiting)
	require.NoError(t, waiting.flush(t.Context())) // it makes the keys
	for _, l := range lanes {
		waiting.add(l, 5)
	}
	require.NoError(t, waiting.flush(t.Context()))
	backlog, err := inspector.Backlog(t.Context(), lanes[1], Queue{})
	require.NoError(t, err)
	assert.Equal(t, 5, backlog.Points)
	assert.True(t, inspector.Writable(t.Context()))
	flushCluster(t, client)
}

// flushCluster deletes all keys.
func flushCluster(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	require.NoError(t, client.(*redis.ClusterClient).ForEachMaster(t.Context(), func(ctx context.Context, master *redis.Client) error {
		return master.FlushAll(ctx).Err()
	}))
}

func testMasters(t *testing.T, cluster *devservers.RedisCluster, connections *Connections) {
	inspector := NewInspector(connections, lane.All(lane.Options{}))
	odd := redis.NewClient(&redis.Options{Addr: cluster.Servers[1].Address()})
	defer odd.Close()
	for name, value := range map[string]string{"appendfsync": "everysec", "maxmemory-policy": "allkeys-lru", "maxmemory": "1gb"} {
		require.NoError(t, odd.ConfigSet(t.Context(), name, value).Err())
	}
	state := inspector.Redis(t.Context())
	require.True(t, state.Connected, state.Err)
	require.Len(t, state.Masters, 3)
	assert.Zero(t, state.MaxMemory, "two have no limit")
	assert.Positive(t, state.memoryUsage(), "one has")
	for _, master := range state.Masters {
		isOdd := master.Address == cluster.Servers[1].Address()
		assert.Equal(t, isOdd, master.AppendFsync == "everysec", master.Address)
		assert.Equal(t, isOdd, master.MaxMemoryPolicy == "allkeys-lru", master.Address)
		assert.Equal(t, 1, master.Replicas)
	}
	require.NoError(t, odd.ConfigSet(t.Context(), "appendfsync", "always").Err())

	last := slices.IndexFunc(cluster.Servers, func(r *devservers.Redis) bool { return r.Address() == state.Masters[2].Address })
	require.NoError(t, cluster.Servers[last].Pause())
	state = inspector.Redis(t.Context())
	require.NoError(t, cluster.Servers[last].Resume())
	assert.False(t, state.Connected)
	require.ErrorContains(t, state.Err, "the master "+cluster.Servers[last].Address())
	assert.Len(t, state.Masters, 3)
}

// A slot has moved, which nobody has told the enqueuer: not a single request fails.
func testMovedSlot(t *testing.T, cluster *devservers.RedisCluster, connections *Connections) {
	e, l := newTestEnqueuer(t, connections, 10*time.Second)
	e.publisher.replay.of(l).checkServer(t.Context())
	require.True(t, e.publisher.replay.of(l).replicas.mayExist())
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 3)))
	require.NoError(t, cluster.MoveSlot(t.Context(), "{live}", cluster.Servers[0], cluster.Servers[2]))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 3)))
	assert.True(t, e.Available())
	other := redis.NewClient(&redis.Options{Addr: cluster.Servers[2].Address()})
	defer other.Close()
	assert.Len(t, listGroups(t, other, l), 2, "it has the tasks of before and after")

	held := e.publisher.replay.of(l)
	held.checkServer(t.Context())
	assert.Equal(t, other.InfoMap(t.Context(), "server").Item("Server", "run_id"), held.runID)
}

// What a server acknowledged is kept until that server has it on its disk and its replica.
func testCopies(t *testing.T, cluster *devservers.RedisCluster, connections *Connections) {
	e, _ := newTestEnqueuer(t, connections, 10*time.Second)
	for _, l := range lane.All(lane.Options{}) {
		held := e.publisher.replay.of(l)
		held.checkServer(t.Context())
		master, err := cluster.MasterOf(t.Context(), pendingKey(l))
		require.NoError(t, err)
		client := redis.NewClient(&redis.Options{Addr: master.Address()})
		defer client.Close()
		assert.Equal(t, client.InfoMap(t.Context(), "server").Item("Server", "run_id"), held.runID, l.Name)
	}
}

// listGroups returns the ids of the tasks in a lane's groups.
func listGroups(t *testing.T, client redis.UniversalClient, l *lane.Lane) (ids []string) {
	t.Helper()
	for g := range groupCount {
		ids = append(ids, client.ZRange(t.Context(), groupKey(l, groupName(g)), 0, -1).Val()...)
	}
	return ids
}

// While a slot moves no script may take a list for empty which is at the other server.
func testHalfMoved(t *testing.T, cluster *devservers.RedisCluster, connections *Connections) {
	l := lane.All(lane.Options{})[1]
	client := connections.Work
	addTask(t, client, l, "id", "active", "")
	require.NoError(t, client.ZAdd(t.Context(), leaseKey(l), redis.Z{Score: 1, Member: "id"}).Err())
	require.NoError(t, cluster.BeginMove(t.Context(), "{upload}", cluster.Servers[2], cluster.Servers[1], taskKeyPrefix(l)+"id"))
	search := newOrphanSearch(client, []*lane.Lane{l}, slog.New(slog.DiscardHandler))
	_, err := search.lock(t.Context())
	require.NoError(t, err)
	const refusal = "(ASK [0-9]|TRYAGAIN)" // by the server that the client has asked last
	_, err = search.requeue(t.Context(), l, []string{"id"})
	require.ErrorContains(t, err, "look at tasks of the queue upload")
	require.Regexp(t, refusal, err.Error())
	_, err = recoverOrphanedGroups(t.Context(), client, l)
	require.Error(t, err)
	require.Regexp(t, refusal, err.Error())
	require.NoError(t, cluster.MoveSlot(t.Context(), "{upload}", cluster.Servers[2], cluster.Servers[1]))
	requeued, err := search.requeue(t.Context(), l, []string{"id"})
	require.NoError(t, err)
	assert.Zero(t, requeued)
}

// asynq deletes a group's tasks once it has aggregated those that it could read.
func TestAggregator_ReadsAGroupAgainThatLacksTasks(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	a := &aggregator{lanes: map[string]*lane.Lane{"live": lanes[0]}, batching: testBatching, logger: slog.New(slog.DiscardHandler)}
	good, absent := asynq.NewTask("live:points", Encode(nil, examplePoints(lanes[0], 4))), asynq.NewTask("", nil)
	for range 2 {
		assert.Nil(t, a.Aggregate("1", []*asynq.Task{absent, good, good}))
		again := a.Aggregate("1", []*asynq.Task{absent, good, good}) // it was deleted
		require.NotNil(t, again)
		count, err := Count(again.Payload())
		require.NoError(t, err)
		assert.Equal(t, 8, count)
		assert.Equal(t, "live:batch", again.Type())
	}
	assert.Nil(t, a.Aggregate("1", []*asynq.Task{absent}))
	assert.Nil(t, a.Aggregate("1", []*asynq.Task{absent, good}))
	require.NotNil(t, a.Aggregate("1", []*asynq.Task{good, good}))
	assert.Nil(t, a.Aggregate("1", []*asynq.Task{absent, good}))
}
