package tasks

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/store"
)

// countingHandler counts the log records of a level.
type countingHandler struct {
	slog.Handler
	level slog.Level

	mu       sync.Mutex
	messages map[string]int
}

func newCountingHandler(level slog.Level) *countingHandler {
	return &countingHandler{Handler: slog.DiscardHandler, level: level, messages: make(map[string]int)}
}

func (h *countingHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }
func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler               { return h }
func (h *countingHandler) WithGroup(string) slog.Handler                    { return h }

func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages[r.Message]++
	return nil
}

func (h *countingHandler) count(message string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.messages[message]
}

// newerPayload is what a newer version might write: more is not known of it.
func newerPayload(l *lane.Lane, points int) []byte {
	payload := Encode(nil, examplePoints(l, points))
	payload[0] = blockVersion + 1
	return payload
}

func newTestHandler(connections *Connections, pool *pgxpool.Pool, lanes []*lane.Lane, logger *slog.Logger) *taskHandler {
	byName := make(map[string]*lane.Lane)
	for _, l := range lanes {
		byName[l.Name] = l
	}
	return &taskHandler{
		lanes: byName, writer: store.NewWriter(pool, lanes, 1000, nil),
		waiting: NewMonitor(connections, lanes, slog.New(slog.DiscardHandler)).waiting, logger: logger,
	}
}

func countRejected(t *testing.T, pool *pgxpool.Pool) (rows int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM rejected_points`).Scan(&rows))
	return rows
}

func TestWorker_LeavesAPayloadOfANewerVersionForANewerWorker(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	e, l := newTestEnqueuer(t, connections, 5*time.Second)
	require.NoError(t, e.publisher.publish(t.Context(), l, newerPayload(l, 1), 1)) // waits in a group
	require.NoError(t, e.publisher.publish(t.Context(), l, newerPayload(l, 600), 600))
	require.NoError(t, e.publisher.publish(t.Context(), l, []byte("garbage"), 600))
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 700)))
	startWorker(t, connections, pool)
	inspector := NewInspector(connections, []*lane.Lane{l})
	require.Eventually(t, func() bool {
		queues, err := inspector.Queues()
		q := queues[l.Name]
		return err == nil && countStored(t, pool) == 700 && countRejected(t, pool) == 1 && q.Retry == 2 && q.Pending+q.Active+q.Aggregating == 0
	}, 30*time.Second, 50*time.Millisecond)
	retried, err := inspector.inspector.ListRetryTasks(l.Name)
	require.NoError(t, err)
	require.Len(t, retried, 2)
	for _, task := range retried {
		assert.Zero(t, task.Retried, "the attempts are counted, and will end")
		assert.EqualValues(t, blockVersion+1, task.Payload[0])
	}
	assert.Equal(t, 1, countRejected(t, pool))
}

func TestTaskHandler_WarnsOnceATaskOfANewerVersion(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	counts := newCountingHandler(slog.LevelWarn)
	_, connections := startRedis(t)
	handler := newTestHandler(connections, pool, lanes, slog.New(counts))
	for range 3 {
		for _, id := range []string{"one", "two"} {
			require.ErrorIs(t, handler.write(t.Context(), lanes[0], id, newerPayload(lanes[0], 1)), errNewerVersion)
		}
	}
	assert.Equal(t, 2, counts.count(newerVersionMessage))
	assert.Zero(t, countRejected(t, pool))
}

func TestDecode_OnlyAVersionByteBelow32IsANewerVersion(t *testing.T) {
	t.Parallel()
	l := lane.All(lane.Options{})[0]
	for first := range 256 {
		payload := Encode(nil, examplePoints(l, 1))
		payload[0] = byte(first)
		_, err := Decode(l, payload)
		switch {
		case first == blockVersion:
			require.NoError(t, err)
		case first > blockVersion && first < 32:
			require.ErrorIs(t, err, errNewerVersion, "version %d", first)
		default:
			require.ErrorIs(t, err, errVersion, "version %d", first)
		}
	}
}

func TestDrainer_SkipsPayloadsOfANewerVersion(t *testing.T) {
	t.Parallel()
	_, connections := startRedis(t)
	pool := openMigrated(t)
	e, l := newTestEnqueuer(t, connections, 5*time.Second)
	const newer = drainPageSize + 2
	for range newer {
		require.NoError(t, e.publisher.publish(t.Context(), l, newerPayload(l, 600), 600))
	}
	require.NoError(t, e.Enqueue(t.Context(), examplePoints(l, 700)))
	lanes := []*lane.Lane{l}
	inspector := NewInspector(connections, lanes)
	d := newDrainer(inspector, newTestHandler(connections, pool, lanes, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	drained, err := d.drainLane(t.Context(), l)
	require.NoError(t, err)
	assert.Equal(t, 1, drained)
	assert.Equal(t, 700, countStored(t, pool))
	left, err := inspector.inspector.ListPendingTasks(l.Name, asynq.PageSize(2*newer))
	require.NoError(t, err)
	assert.Len(t, left, newer)
	assert.Zero(t, countRejected(t, pool))
}
