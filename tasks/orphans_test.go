package tasks

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// enqueueBatches puts so many batch tasks of one point each into a lane's queue.
func enqueueBatches(t testing.TB, connections *Connections, l *lane.Lane, count int) {
	t.Helper()
	client := asynq.NewClientFromRedisClient(connections.Work)
	var senders sync.WaitGroup
	const concurrency = 16
	for sender := range concurrency {
		senders.Go(func() {
			for i := sender; i < count; i += concurrency {
				task := asynq.NewTask(taskType(l.Name, batchTask), Encode(nil, pointAt(l, int64(i))), taskOptions()...)
				if _, err := client.EnqueueContext(t.Context(), task, asynq.Queue(l.Name)); !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	senders.Wait()
}

func countTaskHashes(t testing.TB, client redis.UniversalClient, l *lane.Lane) (count int) {
	t.Helper()
	keys := client.Scan(t.Context(), 0, taskKeyPrefix(l)+"*", 1000).Iterator()
	for keys.Next(t.Context()) {
		count++
	}
	require.NoError(t, keys.Err())
	return count
}

func TestWorker_WritesWhatAnOperatorArchived(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	l := lane.All(lane.Options{})[0]
	const tasks = 12_000
	enqueueBatches(t, connections, l, tasks)
	inspector := NewInspector(connections, []*lane.Lane{l})
	_, err := asynq.NewInspectorFromRedisClient(connections.Work).ArchiveAllPendingTasks(l.Name)
	require.NoError(t, err)
	queues, err := inspector.Queues()
	require.NoError(t, err)
	require.Greater(t, countTaskHashes(t, connections.Work, l), queues[l.Name].Archived, "the test shows nothing: each task is in a list")
	startWorker(t, connections, pool)
	start := time.Now()
	require.Eventually(t, func() bool { return countStored(t, pool) == tasks }, 2*time.Minute, 100*time.Millisecond)
	t.Log("after", time.Since(start).Round(time.Second))
	require.Eventually(t, func() bool { return countTaskHashes(t, connections.Work, l) == 0 }, 20*time.Second, 100*time.Millisecond)
}

// listAll returns how often the lists of a queue name each of its tasks.
func listAll(t *testing.T, client redis.UniversalClient, l *lane.Lane) map[string]int {
	t.Helper()
	listed := make(map[string]int)
	for _, list := range []string{pendingKey(l), activeKey(l)} {
		for _, id := range client.LRange(t.Context(), list, 0, -1).Val() {
			listed[id]++
		}
	}
	sets := append(client.ZRange(t.Context(), aggregationSetsKey(l), 0, -1).Val(),
		queuePrefix(l)+"retry", queuePrefix(l)+"scheduled", queuePrefix(l)+"archived")
	for g := range groupCount {
		sets = append(sets, groupKey(l, groupName(g)))
	}
	for _, set := range sets {
		for _, id := range client.ZRange(t.Context(), set, 0, -1).Val() {
			listed[id]++
		}
	}
	return listed
}

// addTask writes the hash of a task, and nothing else.
func addTask(t *testing.T, client redis.UniversalClient, l *lane.Lane, id, state, group string) {
	t.Helper()
	require.NoError(t, client.HSet(t.Context(), taskKeyPrefix(l)+id, "msg", "m", "state", state).Err())
	if group != "" {
		require.NoError(t, client.HSet(t.Context(), taskKeyPrefix(l)+id, "group", group).Err())
	}
}

// addListedAndOrphaned adds for each state a task in its list and one in none, whose
// ids it returns by their states.
func addListedAndOrphaned(t *testing.T, client redis.UniversalClient, l *lane.Lane) map[string]string {
	t.Helper()
	orphans := map[string]string{}
	for _, state := range []string{"pending", "active", "retry", "scheduled", "archived", "aggregating", "completed", "unknown"} {
		id, orphan := uuid.NewString(), uuid.NewString()
		orphans[state] = orphan
		group := map[string]string{"aggregating": "3"}[state]
		addTask(t, client, l, orphan, state, group)
		switch state {
		case "pending":
			require.NoError(t, client.LPush(t.Context(), pendingKey(l), id).Err())
		case "active":
			require.NoError(t, client.LPush(t.Context(), activeKey(l), id, orphan).Err()) // without a lease nobody looks there
			require.NoError(t, client.ZAdd(t.Context(), leaseKey(l), redis.Z{Score: 1, Member: id}).Err())
		case "aggregating":
			set := groupKey(l, "3:"+uuid.NewString())
			require.NoError(t, client.ZAdd(t.Context(), set, redis.Z{Score: 1, Member: id}).Err())
			require.NoError(t, client.ZAdd(t.Context(), aggregationSetsKey(l), redis.Z{Score: 1, Member: set}).Err())
			waits := uuid.NewString()
			require.NoError(t, client.ZAdd(t.Context(), groupKey(l, "4"), redis.Z{Score: 1, Member: waits}).Err())
			addTask(t, client, l, waits, state, "4")
		case "completed", "unknown":
			continue
		default:
			require.NoError(t, client.ZAdd(t.Context(), queuePrefix(l)+state, redis.Z{Score: 1, Member: id}).Err())
		}
		addTask(t, client, l, id, state, group)
	}
	return orphans
}

func TestOrphanSearch_FindsTasksOfEachStateAndNoOther(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	l, client := lanes[0], connections.Work
	ids := addListedAndOrphaned(t, client, l)
	addTask(t, client, l, "no-uuid", "pending", "")
	require.NoError(t, client.HSet(t.Context(), taskKeyPrefix(l)+"no-task", "state", "active").Err())
	before := listAll(t, client, l)

	search := newOrphanSearch(client, lanes, slog.New(slog.DiscardHandler))
	_, err := search.lock(t.Context())
	require.NoError(t, err)
	found, err := search.pass(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 8, found)
	after := listAll(t, client, l)
	for id := range before {
		assert.Equal(t, 1, after[id], "a task that was listed")
	}
	for state, id := range ids {
		assert.Equal(t, state != "completed", after[id] == 1, state)
	}
	assert.Equal(t, 1, after["no-uuid"])
	assert.Len(t, after, len(before)+7) // the active one was in its list before
	assert.True(t, client.SIsMember(t.Context(), groupsKey(l), "3").Val())
	assert.Equal(t, "aggregating", client.HGet(t.Context(), taskKeyPrefix(l)+ids["aggregating"], "state").Val())
	assert.Equal(t, "pending", client.HGet(t.Context(), taskKeyPrefix(l)+ids["retry"], "state").Val())
	assert.NotEmpty(t, client.HGet(t.Context(), taskKeyPrefix(l)+ids["retry"], "pending_since").Val())
}

func TestOrphanSearch_IsDoneByOneWorkerAtATime(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	lanes := lane.All(lane.Options{})
	first := newOrphanSearch(connections.Work, lanes, slog.New(slog.DiscardHandler))
	second := newOrphanSearch(connections.Work, lanes, slog.New(slog.DiscardHandler))
	locked, err := first.lock(t.Context())
	require.NoError(t, err)
	assert.True(t, locked)
	locked, err = second.lock(t.Context())
	require.NoError(t, err)
	assert.False(t, locked)
	ttl := connections.Work.PTTL(t.Context(), orphanLockKey).Val()
	assert.Positive(t, ttl, "the lock of a worker that crashed would stay")
	assert.LessOrEqual(t, ttl, orphanLockTime)
}

// BenchmarkOrphanSearch is one pass over 100,000 pending tasks, of which none is
// an orphan.
func BenchmarkOrphanSearch(b *testing.B) {
	_, connections := startRedis(b)
	lanes := lane.All(lane.Options{})
	fillPending(b, connections.Work, lanes[0], 100_000)
	search := newOrphanSearch(connections.Work, lanes, slog.New(slog.DiscardHandler))
	for b.Loop() {
		_, err := search.lock(b.Context())
		require.NoError(b, err)
		found, err := search.pass(b.Context())
		require.NoError(b, err)
		require.Zero(b, found)
	}
}

// fillPending makes pending tasks whose message is short.
func fillPending(b testing.TB, client redis.UniversalClient, l *lane.Lane, count int) {
	b.Helper()
	for from := 0; from < count; from += 1000 {
		_, err := client.Pipelined(b.Context(), func(pipe redis.Pipeliner) error {
			for range 1000 {
				id := uuid.NewString()
				pipe.HSet(b.Context(), taskKeyPrefix(l)+id, "msg", fmt.Sprintf("%0100d", from), "state", "pending", "pending_since", 1)
				pipe.LPush(b.Context(), pendingKey(l), id)
			}
			return nil
		})
		require.NoError(b, err)
	}
}
