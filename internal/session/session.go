// Package session remembers who started a session of an app that sends its password
// at the start alone: whoever sends the session's number from then on is that sender.
//
// A session is in Redis, so that it outlives a restart and every API process knows
// it, and in the memory of the processes that have met it, so that they need no Redis
// to know it again. One that is started while Redis is down is written to Redis when
// that is back, and lost if its process ends before.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/auth"
	"tracklane/internal/cache"
	"tracklane/internal/clock"
)

// Session is what is known of a session.
type Session struct {
	Claims auth.Claims

	// Device is the sender's name of itself; it may be empty.
	Device string

	// Name distinguishes the session from the sender's others. It may be shown to
	// everybody, unlike the session's number.
	Name string
}

// The errors of Start and Find, beside those of Redis.
var (
	ErrTaken   = errors.New("the number of the session is somebody else's: start another one")
	ErrUnknown = errors.New("the session is not known: start it with user and password")
)

const (
	// maxRemembered is how many sessions are remembered at the least, in some 5 MB.
	maxRemembered = 10_000

	// lifetime is how long Redis keeps a session that is not used.
	lifetime = 24 * time.Hour

	// renewal is how often a session that is used is written again: its lifetime
	// begins anew, and a Redis that has lost it knows it again.
	renewal = 10 * time.Minute

	// writeInterval is how often Run tries to write what Redis lacks, and
	// writeBatch how many sessions it writes at once.
	writeInterval = time.Second
	writeBatch    = 100

	// maxLookups is how many lookups are under way. Strangers can cause them, and
	// others use the same connections.
	maxLookups = 4
)

// Store remembers sessions. Any number of goroutines may use it.
type Store struct {
	redis    redis.UniversalClient
	verifier *auth.Verifier
	timeout  time.Duration
	logger   *slog.Logger
	lookups  chan struct{}

	mu       sync.Mutex
	known    *cache.Map[uint32, *entry]
	awaiting map[uint32]*entry // those that Redis may lack, maxRemembered at the most
}

type entry struct {
	session Session
	written time.Time // when it was last given to Redis, or put on awaiting
}

// NewStore returns a store that keeps sessions in Redis, sealed by a verifier, and
// waits for it for a timeout at the most. Run makes it renew them.
func NewStore(client redis.UniversalClient, verifier *auth.Verifier, timeout time.Duration, logger *slog.Logger) *Store {
	return &Store{
		redis: client, verifier: verifier, timeout: timeout, logger: logger, lookups: make(chan struct{}, maxLookups),
		known: cache.New[uint32, *entry](maxRemembered), awaiting: make(map[uint32]*entry),
	}
}

// Start remembers a session by its number. It returns ErrTaken if the number is that
// of another session; to start the same one again changes nothing. While Redis is
// down only this process knows the session, and Run writes it later.
func (s *Store) Start(ctx context.Context, number uint32, session Session, now time.Time) error {
	if known := s.remembered(number); known != nil && !known.session.same(session) && now.Before(known.session.Claims.Expires) {
		return ErrTaken
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	started := &entry{session: session, written: now}
	err := s.write(ctx, map[uint32]*entry{number: started})[number]
	if errors.Is(err, ErrTaken) {
		return ErrTaken
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.Put(number, started)
	if err != nil {
		s.await(number, started)
	}
	return nil
}

// Knows reports whether Find needs no Redis.
func (s *Store) Knows(number uint32) bool { return s.remembered(number) != nil }

// Find returns the session of a number. The error is ErrUnknown when there is none
// that is good at now; any other says that Redis could not be asked. The caller must
// not change what the session refers to.
func (s *Store) Find(ctx context.Context, number uint32, now time.Time) (Session, error) {
	found := s.remembered(number)
	if found == nil {
		session, err := s.lookUp(ctx, number)
		if err != nil {
			return Session{}, err
		}
		found = &entry{session: session, written: now}
		s.mu.Lock()
		s.known.Put(number, found)
		s.mu.Unlock()
	}
	claims := found.session.Claims
	if !now.Before(claims.Expires) || now.Before(claims.NotBefore) {
		return Session{}, ErrUnknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(found.written) > renewal {
		found.written = now
		s.known.Put(number, found) // whoever sends is not forgotten
		s.await(number, found)
	}
	return found.session, nil
}

func (s *Store) remembered(number uint32) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, _ := s.known.Get(number)
	return found
}

// await makes Run write a session. The caller holds the lock.
func (s *Store) await(number uint32, e *entry) {
	if _, there := s.awaiting[number]; there || len(s.awaiting) < maxRemembered {
		s.awaiting[number] = e
	}
}

// lookUp reads a session from Redis.
func (s *Store) lookUp(ctx context.Context, number uint32) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	case <-ctx.Done():
		return Session{}, fmt.Errorf("wait for other lookups of sessions: %w", ctx.Err())
	}
	sealed, err := s.redis.Get(ctx, redisKey(number)).Result()
	if errors.Is(err, redis.Nil) {
		return Session{}, ErrUnknown
	}
	if err != nil {
		return Session{}, fmt.Errorf("look a session up: %w", err)
	}
	return s.open(number, sealed)
}

// Run writes what Redis lacks until ctx ends, and then, once more, as much as Redis
// takes within the timeout: nobody else knows those sessions.
func (s *Store) Run(ctx context.Context) {
	for clock.Sleep(ctx, writeInterval) {
		s.writeAwaiting(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	for s.writeAwaiting(ctx) {
	}
}

// writeAwaiting writes a batch of what Redis lacks. It reports whether Redis took all
// of the batch; false, too, where there was nothing to write.
func (s *Store) writeAwaiting(ctx context.Context) bool {
	batch := make(map[uint32]*entry)
	s.mu.Lock()
	for number, e := range s.awaiting {
		if batch[number] = e; len(batch) == writeBatch {
			break
		}
	}
	s.mu.Unlock()
	if len(batch) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	failed := s.write(ctx, batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	complete := true
	for number, e := range batch {
		err := failed[number]
		if errors.Is(err, ErrTaken) {
			s.logger.Warn("two senders have a session of the same number, each in another process", "pilot", e.session.Claims.Pilot)
		}
		if err != nil && !errors.Is(err, ErrTaken) {
			complete = false
			continue
		}
		if s.awaiting[number] == e {
			delete(s.awaiting, number)
		}
	}
	return complete
}

// write writes sessions to Redis, or makes their lifetimes begin anew. It returns the
// errors of those that it could not write; ErrTaken where Redis has another session of
// the number.
func (s *Store) write(ctx context.Context, entries map[uint32]*entry) map[uint32]error {
	got := make(map[uint32]*redis.StringCmd, len(entries))
	_, _ = s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error { // each command has its own error
		for number, e := range entries {
			left := min(lifetime, time.Until(e.session.Claims.Expires))
			if left < time.Millisecond {
				continue // Redis would take it for one without an end
			}
			key := redisKey(number)
			pipe.SetNX(ctx, key, s.seal(number, e.session), left)
			got[number] = pipe.Get(ctx, key)
			pipe.PExpire(ctx, key, left)
		}
		return nil
	})
	failed := make(map[uint32]error)
	for number, command := range got {
		sealed, err := command.Result()
		if err == nil {
			there, openErr := s.open(number, sealed)
			if openErr != nil || !there.same(entries[number].session) {
				err = ErrTaken
			}
		}
		if err != nil {
			failed[number] = err
		}
	}
	return failed
}

// same reports whether two sessions are of the same sender.
func (s Session) same(other Session) bool {
	return s.Claims.Pilot == other.Claims.Pilot && s.Claims.Race == other.Claims.Race && s.Device == other.Device && s.Name == other.Name
}

func redisKey(number uint32) string { return fmt.Sprint("tracklane:session:", number) }

// purpose is what a session is sealed for, so that it is no other's.
func purpose(number uint32) string { return redisKey(number) }

func (s *Store) seal(number uint32, session Session) string {
	text, err := json.Marshal(session)
	if err != nil { // texts and times always marshal
		panic(err)
	}
	return s.verifier.Seal(purpose(number), string(text))
}

// open reads what seal made. What cannot be read is of a key that is no longer good.
func (s *Store) open(number uint32, sealed string) (session Session, err error) {
	text, ok := s.verifier.Open(purpose(number), sealed)
	if !ok || json.Unmarshal([]byte(text), &session) != nil {
		return Session{}, ErrUnknown
	}
	return session, nil
}
