package livestream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tracklane/internal/sse"
	"tracklane/store"
)

// Viewer is one stream. Its channel is closed when it is dropped.
type Viewer struct {
	group  *group
	events chan []byte
}

// ErrFull is returned when there are as many viewers, or different views, as may be,
// or the server is shutting down.
var ErrFull = errors.New("too many viewers are there, or the server is shutting down: try again in a few seconds")

const (
	// resumeTime is how long after its last event a viewer can resume; later it
	// gets a snapshot.
	resumeTime = 10 * time.Minute

	// loadTimeout bounds the reading of a view's flights.
	loadTimeout = 20 * time.Second
)

// Serve streams what a view shows until the client disconnects or is dropped, or
// Run ends. lastID is the id of the last event that the client has, or empty. The
// error, with nothing written, is an ErrFull or that of the database.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, view View, lastID string) error {
	v, first, err := h.join(r.Context(), view, lastID)
	if err != nil {
		return err
	}
	defer h.leave(v)
	sse.Serve(w, r, v.events, first)
	return nil
}

// join adds a viewer, and returns its first event.
func (h *Hub) join(ctx context.Context, view View, lastID string) (*Viewer, []byte, error) {
	g, err := h.enter(view)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-g.loaded:
		err = g.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	v := &Viewer{group: g, events: make(chan []byte, maxBacklog)}
	now := time.Now()
	if err := h.add(v, err); err != nil {
		return nil, nil, err
	}
	if first := h.resume(ctx, g, lastID, now); first != nil {
		return v, first, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return v, g.snapshot(h.idOf(g, now), now, view.callsOf(h.calls, now)), nil
}

// add adds a viewer who has waited for its group, unless an error came of that.
func (h *Hub) add(v *Viewer, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	v.group.waiting--
	if err == nil && (h.closed || h.viewers >= maxViewers || h.groups[v.group.view] != v.group) {
		err = ErrFull
	}
	if err != nil {
		return err
	}
	h.viewers++
	v.group.viewers[v] = struct{}{}
	return nil
}

// enter returns the group of a view, which it begins to load if it is new.
func (h *Hub) enter(view View) (*group, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.viewers >= maxViewers {
		return nil, ErrFull
	}
	if g := h.groups[view]; g != nil {
		g.waiting++
		return g, nil
	}
	if len(h.groups) >= maxGroups {
		return nil, ErrFull
	}
	if len(h.groups) == 0 {
		h.near = look{} // nobody looked since the last viewer left
	}
	g := newGroup(view, time.Now())
	g.waiting++
	h.groups[view] = g
	select {
	case h.wanted <- struct{}{}:
	default:
	}
	go h.load(g)
	return g, nil
}

// load reads the flights of a group. Points that come meanwhile are in it already.
func (h *Hub) load(g *group) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	h.mu.Lock()
	cursorKnown := h.near.cursor != 0
	scope := g.view.scope(0, g.horizon)
	h.mu.Unlock()
	if !cursorKnown {
		h.look(ctx)
	}
	points, err := h.reader.LiveTails(ctx, scope)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer close(g.loaded)
	if err == nil && h.closed {
		err = ErrFull
	}
	if err != nil {
		g.err = err
		delete(h.groups, g.view)
		return
	}
	for _, p := range points {
		g.remember(p)
	}
	g.ready, g.pending = true, nil // whoever comes now gets a snapshot
}

func (h *Hub) leave(v *Viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(v)
}

// drop removes a viewer and closes its channel, unless that was done before. The
// caller holds h.mu.
func (h *Hub) drop(v *Viewer) {
	if _, there := v.group.viewers[v]; there {
		delete(v.group.viewers, v)
		close(v.events)
		h.viewers--
	}
}

// resumption is an event that several viewers resume with.
type resumption struct {
	done  chan struct{}
	event []byte // nil = they get a snapshot
}

// resume returns the event with what was shown to a group since the event with an
// id, or nil if that cannot be told. Viewers who missed the same share it.
func (h *Hub) resume(ctx context.Context, g *group, lastID string, now time.Time) []byte {
	last, ok := parsePlace(lastID)
	if !ok || now.Sub(last.time()) > g.view.Delay+resumeTime {
		return nil
	}
	h.mu.Lock()
	r, there := g.resumed[lastID]
	if !there {
		if last.near > h.near.cursor || h.near.cursor == 0 {
			h.mu.Unlock()
			return nil // of another database
		}
		r = &resumption{done: make(chan struct{})}
		g.resumed[lastID] = r
	}
	calls := g.view.callsOf(h.calls, now)
	id, to := h.idOf(g, now), min(g.horizon, now.Add(48*time.Hour).UnixMicro())
	h.mu.Unlock()
	if there {
		select {
		case <-r.done:
			return r.event
		case <-ctx.Done():
			return nil
		}
	}
	defer close(r.done)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	points, err := h.missed(bounded, g.view, last, to, now)
	if err == nil && len(points) <= maxPending {
		r.event = g.points(id, now, points, calls)
	}
	return r.event
}

// missed reads what was committed since a place, and what was not to be shown then
// because of the delay.
func (h *Hub) missed(ctx context.Context, view View, last place, to int64, now time.Time) ([]store.LivePoint, error) {
	h.looking.Lock()
	defer h.looking.Unlock()
	from, received := now.Add(-view.Delay-maxLate).UnixMicro(), last.time().Add(view.Delay-maxSkew)
	border := max(from, min(to, now.Add(-lookRange).UnixMicro()))
	points, err := h.reader.LiveSince(ctx, last.near, received, view.scope(border, to), maxPending+1)
	if err != nil {
		return nil, err
	}
	older := view.scope(from, 0) // the far look has seen no more than the near one
	older.To = time.UnixMicro(border)
	late, err := h.reader.LiveSince(ctx, last.far, received.Add(-farInterval), older, maxPending+1)
	if points = append(points, late...); err != nil || view.Delay == 0 || last.horizon >= to {
		return points, err
	}
	later, err := h.reader.LiveBetween(ctx, view.scope(last.horizon, to), maxPending+1)
	return append(points, later...), err
}

// place is where a viewer is in the stream. Its text is the id of an event.
type place struct {
	near, far store.LiveCursor // as the hub's looks
	horizon   int64            // until which time points were shown, in Unix µs
}

func (p place) time() time.Time { return time.UnixMicro(p.horizon) }

// String implements fmt.Stringer.
func (p place) String() string { return fmt.Sprintf("%d-%d-%d", p.near, p.horizon, p.far) }

// parsePlace reads what String wrote.
func parsePlace(id string) (p place, ok bool) {
	parts := strings.Split(id, "-")
	if len(parts) != 3 {
		return p, false
	}
	var numbers [3]int64
	for i, part := range parts {
		number, err := strconv.ParseUint(part, 10, 63)
		if err != nil || number == 0 {
			return p, false
		}
		numbers[i] = int64(number)
	}
	return place{store.LiveCursor(numbers[0]), store.LiveCursor(numbers[2]), numbers[1]}, true
}
