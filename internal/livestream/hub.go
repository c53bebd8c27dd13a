// Package livestream shows viewers the points of the lane live as they are
// committed, whichever process writes them.
//
// Each writer publishes what it has committed through Redis, as a Publisher. That
// is quick, and may fail. A Hub therefore looks into the database every few seconds
// for what was committed since it looked last, in the order of commits and not of
// times: what was published is among it and is not shown twice.
package livestream

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/cache"
	"tracklane/internal/clock"
	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/store"
)

// View is what a viewer may see; the zero View is everything.
type View struct {
	Race, Pilot string        // empty = anybody's
	Delay       time.Duration // by which points are shown late
}

// horizon is until which time points are shown, in Unix µs.
func (v View) horizon(now time.Time) int64 {
	if v.Delay == 0 {
		return 1<<63 - 1
	}
	return now.Add(-v.Delay).UnixMicro()
}

func (v View) scope(from, to int64) store.Scope {
	s := store.Scope{Race: v.Race, Pilot: v.Pilot, From: time.UnixMicro(from)}
	if v.Delay > 0 {
		s.To = time.UnixMicro(to)
	}
	return s
}

// Hub hands the points of the lane live to its viewers. Any number of goroutines
// may use it.
type Hub struct {
	reader   *store.Reader
	redis    redis.UniversalClient
	channel  string
	live     *lane.Lane
	recorder *metrics.Recorder
	logger   *slog.Logger
	wanted   chan struct{} // has a value when somebody came

	looking sync.Mutex // one look into the database at a time

	mu      sync.Mutex
	groups  map[View]*group
	viewers int
	closed  bool
	near    look      // all before it was shown of the last lookRange
	far     look      // and of times before
	lookAt  time.Time // when to look into the database next
	rested  time.Time // and before when not to
	lookFar bool      // and whether as far back as maxLate
	failing bool
	calls   []metrics.DistressCall // of all processes, as far as is known
	seen    *cache.Map[uint64, struct{}]
	seed    maphash.Seed
}

// look is how far the hub has looked into the database, and when.
type look struct {
	cursor store.LiveCursor // 0 = not known
	at     time.Time
}

const (
	liveLane = "live"

	// interval is how often viewers get an event.
	interval = time.Second

	// lookInterval is how often the hub looks for points that were committed and
	// not published, of the last lookRange. Where the publishing was interrupted
	// it looks as far back as maxLate, and every farInterval in any case.
	lookInterval = 5 * time.Second
	lookRange    = 10 * time.Minute
	farInterval  = 5 * time.Minute
	maxLate      = 2 * time.Hour

	// lookRest is for how many times as long as a look took there is none.
	lookRest = 10

	// maxSkew is by how much the clocks of the processes that receive points may be
	// behind this one's, where a look goes by times of receipt.
	maxSkew = time.Minute

	// settleTime is how long after the begin of the subscription a publisher may
	// still believe that nobody listens.
	settleTime = quietTime + 500*time.Millisecond

	// maxViewers and maxGroups bound the memory, and maxBacklog is how many events
	// a viewer may be behind before it is dropped. Its client then resumes.
	maxViewers = 2000
	maxGroups  = 64
	maxBacklog = 8

	// maxSeen is how many points are remembered as shown, at the least.
	maxSeen = 200_000
)

// NewHub returns a hub that reads points from the database, and hears of new ones
// on a channel of Redis. The distress calls are those of all processes that share
// this Redis; the recorder has this one's. Run makes it work.
func NewHub(
	reader *store.Reader, client redis.UniversalClient, channel string, live *lane.Lane, recorder *metrics.Recorder, logger *slog.Logger,
) *Hub {
	return &Hub{reader: reader, redis: client, channel: channel, live: live, recorder: recorder, logger: logger, wanted: make(chan struct{}, 1),
		groups: make(map[View]*group), seen: cache.New[uint64, struct{}](maxSeen), seed: maphash.MakeSeed()}
}

// Run serves viewers until ctx ends, and ends their streams then.
func (h *Hub) Run(ctx context.Context) {
	defer h.close()
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { h.listen(ctx) })
	parts.Go(func() { h.watchCalls(ctx) })
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var far time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if !h.hasGroups() {
				continue
			}
			if h.isTimeToLook(now) {
				if now.Sub(far) > farInterval {
					h.wantFar(now)
					far = now
				}
				h.look(ctx)
			}
			h.release(ctx, now)
			h.send(now)
		}
	}
}

func (h *Hub) hasGroups() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.groups) > 0
}

func (h *Hub) isTimeToLook(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !now.Before(h.lookAt) && !now.Before(h.rested)
}

// wantFar makes the hub look far back, at a time.
func (h *Hub) wantFar(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lookAt, h.lookFar = at, true
}

// look shows what was committed since the last look.
func (h *Hub) look(ctx context.Context) {
	h.looking.Lock()
	defer h.looking.Unlock()
	h.mu.Lock()
	near, far, isFar, now := h.near, h.far, h.lookFar, time.Now()
	h.lookFar, h.lookAt = false, now.Add(lookInterval)
	h.mu.Unlock()
	if !isFar {
		far.cursor = 0
	}
	next, points, err := h.committed(ctx, near, far, now)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.lookFar = h.lookFar || isFar
		if !h.failing && ctx.Err() == nil {
			h.logger.Warn("the live stream cannot look for stored points; trying again until it can", "error", err)
		}
		h.failing = true
		return
	}
	h.failing = false
	h.rested = time.Now().Add(min(lookRest*time.Since(now), farInterval))
	if near.cursor > next {
		h.reset() // another database
	}
	h.take(points)
	h.near = look{next, now}
	if isFar || near.cursor == 0 || near.cursor > next {
		h.far = h.near
	}
	for _, g := range h.groups {
		clear(g.resumed)
		g.forgetOld(time.Now())
	}
}

// committed returns the points of the last lookRange that were committed since near,
// the older ones since far unless that is not known, and the cursor for the next time.
// If there are more than viewers are told, they are the newest.
func (h *Hub) committed(ctx context.Context, near, far look, now time.Time) (store.LiveCursor, []store.LivePoint, error) {
	next, err := h.reader.LiveCursor(ctx)
	if err != nil || near.cursor == 0 || near.cursor > next {
		return next, nil, err
	}
	border := now.Add(-lookRange)
	points, err := h.reader.LiveSince(ctx, near.cursor, near.at.Add(-maxSkew), store.Scope{From: border}, maxPending+1)
	if err != nil || far.cursor == 0 {
		return next, points, err
	}
	// The looks in between were at times before this, and went further back.
	older := store.Scope{From: now.Add(-maxLate), To: border}
	late, err := h.reader.LiveSince(ctx, far.cursor, far.at.Add(-maxSkew), older, maxPending+1)
	return next, append(points, late...), err
}

// take shows points that were not shown yet. The caller holds h.mu.
func (h *Hub) take(points []store.LivePoint) {
	now := time.Now()
	for _, p := range points {
		key := maphash.Comparable(h.seed, pointKey{p.ID, p.Time, p.Lat, p.Lon})
		if _, seen := h.seen.Get(key); seen {
			continue
		}
		h.seen.Put(key, struct{}{})
		for _, g := range h.groups {
			g.add(p, now)
		}
	}
}

type pointKey struct {
	flight   string
	time     int64
	lat, lon float64
}

// release shows the points whose time has come where there is a delay: they are
// read by their times, so that nothing is kept until then.
func (h *Hub) release(ctx context.Context, now time.Time) {
	h.mu.Lock()
	var delayed []*group
	for _, g := range h.groups {
		if g.ready && g.view.Delay > 0 {
			delayed = append(delayed, g)
		}
	}
	h.mu.Unlock()
	for _, g := range delayed {
		to := g.view.horizon(now)
		points, err := h.reader.LiveBetween(ctx, g.view.scope(g.horizon, to), maxPending)
		if err != nil {
			continue // the look says so; the next time reads from the same time on
		}
		h.mu.Lock()
		g.horizon = to
		if len(points) == maxPending {
			g.horizon = points[len(points)-1].Time - 1
		}
		for _, p := range points {
			g.add(p, now)
		}
		h.mu.Unlock()
	}
}

// send gives each viewer the event of this second, and drops who is too slow.
func (h *Hub) send(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for view, g := range h.groups {
		if !g.ready {
			continue
		}
		if len(g.viewers) == 0 && g.waiting == 0 {
			delete(h.groups, view)
			continue
		}
		h.sendTo(g, now)
	}
}

// sendTo sends what is new in a group. While points wait for later events, a viewer who
// resumes does so from where none did. The caller holds h.mu.
func (h *Hub) sendTo(g *group, now time.Time) {
	calls := g.view.callsOf(h.calls, now)
	news := calls
	if bytes.Equal(calls, g.calls) {
		news = nil
	}
	points, isAll := g.takePending()
	id := ""
	if isAll {
		id = h.idOf(g, now)
	}
	text := g.points(id, now, points, news)
	g.calls = calls
	for v := range g.viewers {
		select {
		case v.events <- text:
		default:
			h.drop(v)
		}
	}
}

// reset makes every viewer start again. The caller holds h.mu.
func (h *Hub) reset() {
	for view, g := range h.groups {
		for v := range g.viewers {
			h.drop(v)
		}
		if g.ready {
			delete(h.groups, view)
		}
	}
}

func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.reset()
}

// watchCalls looks for distress calls, once an interval while there are viewers,
// until ctx ends.
func (h *Hub) watchCalls(ctx context.Context) {
	for clock.Sleep(ctx, interval) {
		if h.hasGroups() {
			h.lookForCalls(ctx, time.Now())
		}
	}
}

// lookForCalls takes up the distress calls of all processes. What it found before is
// shown while Redis is down, too.
func (h *Hub) lookForCalls(ctx context.Context, now time.Time) {
	h.mu.Lock()
	known := slices.Concat(h.calls, h.recorder.DistressCalls(now))
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	calls, err := metrics.AllDistressCalls(ctx, h.redis, known, now)
	if err != nil {
		h.logger.Debug("distress calls of other processes are not known", "error", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = calls
}

// listen takes up what is published, while there are viewers, until ctx ends.
func (h *Hub) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wanted:
		}
		h.subscribe(ctx)
	}
}

// subscribe takes up what is published until nobody views any more. The library
// connects again by itself, and says so.
func (h *Hub) subscribe(ctx context.Context) {
	subscription := h.redis.Subscribe(ctx, h.channel)
	defer subscription.Close()
	messages := subscription.ChannelWithSubscriptions(redis.WithChannelSize(publishQueue))
	ticker := time.NewTicker(10 * interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if !h.hasGroups() {
				return
			}
		case got, open := <-messages:
			if !open {
				return
			}
			if message, is := got.(*redis.Message); is {
				h.hear([]byte(message.Payload))
			} else {
				h.wantFar(time.Now().Add(settleTime))
			}
		}
	}
}

// hear shows published points.
func (h *Hub) hear(message []byte) {
	points, err := decodeMessage(h.live, message)
	if err != nil || message[0] != complete {
		h.wantFar(time.Now()) // it may be of a newer version
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take(points)
}

var errEmptyMessage = errors.New("a message without points")

func (h *Hub) idOf(g *group, now time.Time) string {
	return place{h.near.cursor, h.far.cursor, min(g.horizon, now.UnixMicro())}.String()
}
