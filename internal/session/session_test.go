package session_test

import (
	"context"
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
