package tasks

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

const clockError = 10 * time.Minute

// shiftScores adds to the scores of a sorted set, as if a process whose clock is
// so much ahead had added its entries.
func shiftScores(t *testing.T, client redis.UniversalClient, key string, by time.Duration) {
	t.Helper()
	for _, entry := range client.ZRangeWithScores(t.Context(), key, 0, -1).Val() {
		require.NoError(t, client.ZIncrBy(t.Context(), key, by.Seconds(), entry.Member.(string)).Err())
	}
}

func TestWorker_WritesPointsOfAProcessWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	e, l := newTestEnqueuer(t, connections, 5*time.Second)
	client := connections.Work
	// One waits in a group, and one for its next try.
	require.NoError(t, e.Enqueue(t.Context(), pointAt(l, 1)))
	for g := range groupCount {
		shiftScores(t, client, groupKey(l, groupName(g)), clockError)
	}
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 600)))
	id, err := client.RPop(t.Context(), pendingKey(l)).Result()
	require.NoError(t, err)
	require.NoError(t, client.HSet(t.Context(), taskKeyPrefix(l)+id, "state", "retry").Err())
	require.NoError(t, client.ZAdd(t.Context(), retryKey(l), redis.Z{Score: float64(time.Now().Add(clockError).Unix()), Member: id}).Err())

	startWorker(t, connections, pool)
	require.Eventually(t, func() bool { return countStored(t, pool) == 601 }, time.Minute, 100*time.Millisecond)
}

func TestCorrectScores_LeavesThoseThatAreDueInTime(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	l, client := lane.All(lane.Options{})[0], connections.Work
	now := time.Now()
	add := func(key, id string, after time.Duration) {
		require.NoError(t, client.ZAdd(t.Context(), key, redis.Z{Score: float64(now.Add(after).Unix()), Member: id}).Err())
	}
	score := func(key, id string) int { return int(client.ZScore(t.Context(), key, id).Val()) }
	add(groupKey(l, "0"), "old", -time.Hour)
	add(groupKey(l, "0"), "now", 0)
	add(groupKey(l, "63"), "ahead", clockError)
	add(retryKey(l), "due", -time.Second)
	add(retryKey(l), "next", maxRetryDelay)
	add(retryKey(l), "ahead", clockError)
	corrected, err := correctScores(t.Context(), client, l, func() time.Time { return now })
	require.NoError(t, err)
	assert.Equal(t, 2, corrected)
	assert.EqualValues(t, now.Add(-time.Hour).Unix(), score(groupKey(l, "0"), "old"))
	assert.EqualValues(t, now.Unix(), score(groupKey(l, "0"), "now"))
	assert.EqualValues(t, now.Unix(), score(groupKey(l, "63"), "ahead"))
	assert.EqualValues(t, now.Add(-time.Second).Unix(), score(retryKey(l), "due"))
	assert.EqualValues(t, now.Add(maxRetryDelay).Unix(), score(retryKey(l), "next"))
	assert.EqualValues(t, now.Add(maxRetryDelay).Unix(), score(retryKey(l), "ahead"))

	// A worker whose own clock is behind does not wait for it either.
	corrected, err = correctScores(t.Context(), client, l, func() time.Time { return now.Add(-clockError) })
	require.NoError(t, err)
	assert.Equal(t, 5, corrected)
}

func TestInspector_RedisReportsHowFarTheClocksDiffer(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	inspector := NewInspector(connections, lane.All(lane.Options{}))
	assert.InDelta(t, 0, inspector.Redis(t.Context()).ClockOffset, float64(time.Second))
	inspector.now = func() time.Time { return time.Now().Add(-clockError) }
	assert.InDelta(t, -clockError, inspector.Redis(t.Context()).ClockOffset, float64(time.Second))
}
