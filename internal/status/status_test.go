package status

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/store"
	"tracklane/tasks"
)

func TestTimeouts_FitTogether(t *testing.T) {
	t.Parallel()
	assert.Less(t, inspectTimeout, checkTimeout, "a command that hangs would use up all of the check's time")
	assert.Less(t, checkTimeout+collectGrace, responseTimeout, "a collection takes longer than a response may")
	assert.GreaterOrEqual(t, responseTimeout-checkTimeout-collectGrace, 100*time.Millisecond, "nothing is left for the response")
	assert.Less(t, statusTTL, responseTimeout, "a page that is updated each second would show the same twice")
}

// newTestCollector returns a collector of an installation that is down.
func newTestCollector(t *testing.T) *Collector {
	t.Helper()
	lanes := lane.All(lane.Options{})
	config, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/none")
	require.NoError(t, err)
	pool, err := store.Open(config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	connections := tasks.Connect(redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}}, 6)
	t.Cleanup(func() { assert.NoError(t, connections.Close()) })
	return NewCollector(Config{
		Lanes: lanes, Weights: map[string]int{"live": 6}, Recorder: metrics.New(lanes, "test"),
		Database: store.NewDatabase(pool, lanes), Inspector: tasks.NewInspector(connections, lanes),
		BypassesRedis: func() bool { return true }, AdmitsLive: func() bool { return true }, Version: "test", Logger: slog.New(slog.DiscardHandler),
	})
}

func TestCollector_SnapshotOfWhatIsDownComesInTime(t *testing.T) {
	t.Parallel()
	c := newTestCollector(t)
	start := time.Now()
	s, err := c.Snapshot(t.Context())
	require.NoError(t, err)
	assert.Less(t, time.Since(start), responseTimeout)
	assert.Equal(t, Unhealthy, s.State())
	assert.True(t, s.BypassesRedis)
	require.Len(t, s.Lanes, 4)
	assert.Equal(t, Lane{Name: "live", Priority: 1, Weight: 6, Table: "live_track_points"}, s.Lanes[0])
	assert.False(t, c.Ready(t.Context()))

	again, err := c.Snapshot(t.Context())
	require.NoError(t, err)
	if time.Since(s.At) < statusTTL {
		assert.Equal(t, s.At, again.At, "it is collected once within statusTTL")
	}
}

func TestCollector_CallersHonourTheirContext(t *testing.T) {
	t.Parallel()
	c := newTestCollector(t)
	release := make(chan struct{})
	held := c.flight.DoChan("", func() (any, error) { // a collection that hangs
		<-release
		return Snapshot{Version: "shared"}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Snapshot(ctx)
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	assert.Equal(t, Snapshot{Version: "shared"}, (<-held).Val)
}

func TestSnapshot_Reasons(t *testing.T) {
	t.Parallel()
	fine := func() Snapshot {
		return Snapshot{
			Database: Database{Connected: true, TimescaleDB: true, Writable: true}, RedisWritable: true,
			Redis:   tasks.Redis{Connected: true, AppendOnly: true, AppendFsync: "always", MaxMemoryPolicy: "noeviction"},
			Workers: []tasks.WorkerProcess{{}},
			Lanes:   []Lane{{Name: "live"}},
		}
	}
	for name, c := range map[string]struct {
		alter  func(*Snapshot)
		state  State
		reason string
	}{
		"both down":     {func(s *Snapshot) { s.Database, s.Redis, s.RedisWritable = Database{}, tasks.Redis{}, false }, Unhealthy, "Redis and the database are both down"},
		"Redis down":    {func(s *Snapshot) { s.Redis, s.RedisWritable = tasks.Redis{}, false }, Degraded, "Redis is down"},
		"database down": {func(s *Snapshot) { s.Database = Database{} }, Degraded, "The database is down"},
		"eviction":      {func(s *Snapshot) { s.Redis.MaxMemoryPolicy = "allkeys-lru" }, Degraded, "maxmemory-policy is allkeys-lru"},
		"in memory":     {func(s *Snapshot) { s.Redis.AppendOnly = false }, Degraded, "set appendonly to yes"},
		"a late fsync":  {func(s *Snapshot) { s.Redis.AppendFsync = "everysec" }, Degraded, "appendfsync is everysec, set it to always"},
		"lone master":   {func(s *Snapshot) { s.Redis.Replicas, s.Redis.MinReplicas = 1, "0" }, Degraded, "A replica of Redis that takes over would lack acknowledged points: set min-replicas-to-write to 1"},
		"a fast clock":  {func(s *Snapshot) { s.Redis.ClockOffset = 10 * time.Minute }, Degraded, "differs by 10m0s from that of Redis"},
		"a slow clock":  {func(s *Snapshot) { s.Redis.ClockOffset = -3 * time.Second }, Degraded, "differs by 3s from that of Redis"},
		"a master down": {func(s *Snapshot) {
			s.Redis, s.RedisWritable = tasks.Redis{Masters: []tasks.Redis{{Address: "one:1", Connected: true}, {Address: "two:1"}, {Address: "three:1"}}}, false
		}, Degraded, "Redis at two:1 and three:1 is down: points go straight to the database."},
		"odd masters": {func(s *Snapshot) {
			one, two, three := s.Redis, s.Redis, s.Redis
			one.Address, two.Address, three.Address = "one:1", "two:1", "three:1"
			one.AppendFsync, three.AppendFsync = "everysec", "everysec"
			s.Redis.Masters = []tasks.Redis{one, two, three}
		}, Degraded, "Redis at one:1 and three:1 acknowledges points before they are on its disk: its appendfsync is everysec"},
		"no fsync":        {func(s *Snapshot) { s.Redis.AppendFsync = "no" }, Degraded, "appendfsync is no, set it to always"},
		"no worker":       {func(s *Snapshot) { s.Workers = nil }, Degraded, "No worker is alive"},
		"archived tasks":  {func(s *Snapshot) { s.Lanes[0].Queue.Archived = 3 }, Degraded, "live has 3 archived tasks"},
		"an old backlog":  {func(s *Snapshot) { s.Lanes[0].Backlog.OldestAge = 61 * time.Second }, Degraded, "has waited for 1m1s"},
		"a paused queue":  {func(s *Snapshot) { s.Lanes[0].Queue.Paused = true }, Degraded, "The queue live is paused"},
		"read-only":       {func(s *Snapshot) { s.Database.Writable = false }, Degraded, "The database accepts no points"},
		"unsynced":        {func(s *Snapshot) { s.Database.NoSync = true }, Degraded, "its fsync is off"},
		"a replica":       {func(s *Snapshot) { s.RedisWritable = false }, Degraded, "Redis accepts no writes"},
		"a full queue":    {func(s *Snapshot) { s.RedisFull = true }, Degraded, "Redis holds as many points as it may"},
		"no dead letters": {func(s *Snapshot) { s.Database.NoRejects = true }, Degraded, "may not write to rejected_points"},
		"no directory":    {func(s *Snapshot) { s.Database.NoFlights = true }, Degraded, "New flights are not listed in /flights"},
		"dead letters":    {func(s *Snapshot) { s.Database.HasRejected = true }, Degraded, "The database refused points"},
	} {
		t.Run(name, func(t *testing.T) {
			s := fine()
			c.alter(&s)
			assert.Equal(t, c.state, s.State())
			require.Len(t, s.Reasons(), 1)
			assert.Contains(t, s.Reasons()[0], c.reason)
		})
	}
	assert.Equal(t, Healthy, fine().State())
	assert.Empty(t, fine().Reasons())
	assert.Empty(t, fine().Notes())
}

func TestSnapshot_IsUnhealthyExactlyWhenPointsAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ database, redis, full, refused bool }{
		{true, true, false, false}, {true, false, false, false}, {true, true, true, false}, {true, false, true, false},
		{false, true, false, false}, {false, true, true, true}, {false, false, false, true}, {false, false, true, true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			s := Snapshot{Database: Database{Connected: true, Writable: c.database}, RedisWritable: c.redis, RedisFull: c.full}
			s.Redis.Connected = true
			assert.Equal(t, c.refused, s.State() == Unhealthy, "%+v", c)
		})
	}
}

func TestSnapshot_NotesThatTablesArePlain(t *testing.T) {
	t.Parallel()
	s := Snapshot{Database: Database{Connected: true, Writable: true}}
	require.Len(t, s.Notes(), 1)
	assert.Contains(t, s.Notes()[0], "TimescaleDB is not installed")
}
