package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth"
	"tracklane/internal/devservers"
	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/session"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	logging.Disable() // Redis is down now and then
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

const (
	key      = "the key of these tests, 32 letters or more"
	otherKey = "another key of these tests, as long as it"
	number   = 0x81000007
)

// newStore returns the store of one process.
func newStore(t *testing.T, server *devservers.Redis) *session.Store {
	t.Helper()
	return newStoreOf(t, server, auth.NewVerifier(key, ""))
}

func newStoreOf(t *testing.T, server *devservers.Redis, verifier *auth.Verifier) *session.Store {
	t.Helper()
	store := session.NewStore(newClient(t, server), verifier, 5*time.Second, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return store
}

// newClient returns a client of Redis that does not try again.
func newClient(t *testing.T, server *devservers.Redis) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	options.MaxRetries, options.DialerRetries, options.ContextTimeoutEnabled = -1, 1, true
	client := redis.NewClient(options)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

func of(pilot string, expires time.Time) session.Session {
	return session.Session{Claims: auth.Claims{Pilot: pilot, Race: "cup", Scopes: []string{"live"}, Expires: expires}, Name: "x"}
}

func TestStore_KnowsASessionInEveryProcessUntilItsTokenExpires(t *testing.T) {
	t.Parallel()
	redis, now := servers.Redis(t), time.Now()
	expires := now.Add(time.Hour)
	first := newStore(t, redis)
	require.NoError(t, first.Start(t.Context(), number, of("anna", expires), now))
	second := newStore(t, redis)
	for range 2 { // from Redis, then from memory
		found, err := second.Find(t.Context(), number, now)
		require.NoError(t, err)
		assert.Equal(t, "anna", found.Claims.Pilot)
		assert.Equal(t, "cup", found.Claims.Race)
		assert.Equal(t, "x", found.Name)
		assert.True(t, found.Claims.Allows("live"))
	}
	_, err := second.Find(t.Context(), number+1, now)
	assert.Equal(t, session.ErrUnknown, err)
	_, err = second.Find(t.Context(), number, expires)
	assert.Equal(t, session.ErrUnknown, err)
	_, err = newStoreOf(t, redis, auth.NewVerifier(otherKey, "")).Find(t.Context(), number, now)
	assert.Equal(t, session.ErrUnknown, err, "with the key, its sessions end")
	_, err = newStoreOf(t, redis, auth.NewVerifier(otherKey, key)).Find(t.Context(), number, now)
	assert.NoError(t, err, "the key before still verifies")
}

func TestStore_GivesNoSessionToAnother(t *testing.T) {
	t.Parallel()
	redis, now := servers.Redis(t), time.Now()
	expires := now.Add(time.Hour)
	first, second := newStore(t, redis), newStore(t, redis)
	require.NoError(t, first.Start(t.Context(), number, of("anna", expires), now))
	for _, store := range []*session.Store{first, second} {
		require.NoError(t, store.Start(t.Context(), number, of("anna", expires), now), "a start that is sent again")
		assert.Equal(t, session.ErrTaken, store.Start(t.Context(), number, of("bert", expires), now))
		found, err := store.Find(t.Context(), number, now)
		require.NoError(t, err)
		assert.Equal(t, "anna", found.Claims.Pilot)
	}
}

func TestStore_NeedsNoRedisForWhatItHasMet(t *testing.T) {
	t.Parallel()
	redis, now := servers.Redis(t), time.Now()
	if redis.InMemory() {
		return
	}
	expires := now.Add(time.Hour)
	first, second := newStore(t, redis), newStore(t, redis)
	require.NoError(t, first.Start(t.Context(), number, of("anna", expires), now))
	require.NoError(t, redis.Kill())
	_, err := first.Find(t.Context(), number, now)
	require.NoError(t, err)
	_, err = second.Find(t.Context(), number, now)
	require.Error(t, err)
	require.NotEqual(t, session.ErrUnknown, err, "it may be known when Redis is back")

	require.NoError(t, first.Start(t.Context(), number+1, of("bert", expires), now))
	_, err = first.Find(t.Context(), number+1, now)
	require.NoError(t, err)
	require.NoError(t, redis.Restart(t.Context()))
	require.Eventually(t, func() bool {
		found, err := second.Find(t.Context(), number+1, now)
		return err == nil && found.Claims.Pilot == "bert"
	}, 20*time.Second, 20*time.Millisecond, "what was started meanwhile is written")
}

func TestStore_WritesASessionAgainThatRedisHasLost(t *testing.T) {
	t.Parallel()
	server, now := servers.Redis(t), time.Now()
	first, second := newStore(t, server), newStore(t, server)
	require.NoError(t, first.Start(t.Context(), number, of("anna", now.Add(time.Hour)), now))
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close()
	require.NoError(t, client.FlushAll(t.Context()).Err())
	_, err = second.Find(t.Context(), number, now)
	require.Equal(t, session.ErrUnknown, err)
	_, err = first.Find(t.Context(), number, now.Add(11*time.Minute))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := second.Find(t.Context(), number, now)
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	left := client.PTTL(t.Context(), "tracklane:session:2164260871").Val()
	assert.Greater(t, left, 50*time.Minute)
	assert.LessOrEqual(t, left, time.Hour, "it ends with the token")
}

// More than one batch waits. Run is told to end before it begins, so that nothing but
// its last write can write them.
func TestStore_WritesWhatWaitsBeforeItEnds(t *testing.T) {
	t.Parallel()
	server, now := servers.Redis(t), time.Now()
	if server.InMemory() {
		return
	}
	const sessions = 250
	client := newClient(t, server)
	ending := session.NewStore(client, auth.NewVerifier(key, ""), 5*time.Second, slog.New(slog.DiscardHandler))
	require.NoError(t, server.Kill())
	for n := range uint32(sessions) {
		require.NoError(t, ending.Start(t.Context(), number+n, of("anna", now.Add(time.Hour)), now))
	}
	require.NoError(t, server.Restart(t.Context()))
	require.Eventually(t, func() bool { return client.Ping(t.Context()).Err() == nil }, 20*time.Second, 20*time.Millisecond,
		"after failures the client dials again once a second")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	ending.Run(stopped)
	other := newStore(t, server)
	for n := range uint32(sessions) {
		found, err := other.Find(t.Context(), number+n, now)
		require.NoError(t, err)
		require.Equal(t, "anna", found.Claims.Pilot)
	}
}

// What is sealed for one number is no session of another one, whoever can write to Redis.
func TestStore_OpensASessionUnderItsOwnNumberAlone(t *testing.T) {
	t.Parallel()
	server, now := servers.Redis(t), time.Now()
	store, client := newStore(t, server), newClient(t, server)
	require.NoError(t, store.Start(t.Context(), number, of("anna", now.Add(time.Hour)), now))
	const prefix = "tracklane:session:"
	sealed, err := client.Get(t.Context(), fmt.Sprint(prefix, number)).Result()
	require.NoError(t, err)
	require.NoError(t, client.Set(t.Context(), fmt.Sprint(prefix, number+1), sealed, time.Hour).Err())
	require.NoError(t, client.Set(t.Context(), fmt.Sprint(prefix, number+2), sealed[:len(sealed)-1], time.Hour).Err())
	require.NoError(t, client.Set(t.Context(), fmt.Sprint(prefix, number+3), `{"Claims":{"Pilot":"eve"}}`, time.Hour).Err())
	other := newStore(t, server)
	for n := range uint32(4) {
		found, err := other.Find(t.Context(), number+n, now)
		if n == 0 {
			require.NoError(t, err)
			assert.Equal(t, "anna", found.Claims.Pilot)
		} else {
			assert.Equal(t, session.ErrUnknown, err, n)
		}
	}
}

// countingHook counts the commands that are under way, each until its time is over.
type countingHook struct {
	mu        sync.Mutex
	now, most int
}

func (*countingHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*countingHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *countingHook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, _ redis.Cmder) error {
		h.add(1)
		defer h.add(-1)
		<-ctx.Done()
		return ctx.Err()
	}
}

func (h *countingHook) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now += n
	h.most = max(h.most, h.now)
}

// Strangers who ask for numbers take few of the connections to a slow Redis.
func TestStore_LooksUpFewAtOnce(t *testing.T) {
	t.Parallel()
	client, hook := newClient(t, servers.Redis(t)), &countingHook{}
	client.AddHook(hook)
	store := session.NewStore(client, auth.NewVerifier(key, ""), time.Second/2, slog.New(slog.DiscardHandler))
	var asking sync.WaitGroup
	for n := range uint32(40) {
		asking.Go(func() {
			_, err := store.Find(t.Context(), number+n, time.Now())
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
	asking.Wait()
	assert.Equal(t, 4, hook.most)
}
