package statuspage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// snapshotInterval is how often subscribers get a snapshot.
	snapshotInterval = time.Second

	// sourceTimeout bounds one call of the source.
	sourceTimeout = 2 * time.Second

	// maxSubscribers is how many pages may be open at the same time.
	maxSubscribers = 200

	// maxBacklog is how many events a subscriber may be behind before it is
	// evicted; its page then connects again.
	maxBacklog = 5
)

// broker hands the events of the page to its subscribers.
type broker struct {
	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
	closed      bool
	history     history
	latest      []byte // the newest snapshot's event
}

// subscriber is one open page. Its channel is closed when it is evicted.
type subscriber struct{ events chan []byte }

// Run takes a snapshot each second while a page is open, and every five seconds
// for the history in any case, until ctx ends. Then it ends the events of every
// open page. http.Server.Shutdown would wait for them, so ctx must end before
// Shutdown is called. Run may be called once.
func (p *Page) Run(ctx context.Context) {
	defer p.broker.close()
	ticker := time.NewTicker(snapshotInterval)
	defer ticker.Stop()
	var sampled time.Time
	for {
		// Ticks are not exact: one may come just before it is due.
		due := time.Since(sampled) > sampleInterval-snapshotInterval/2
		if due {
			sampled = time.Now()
		}
		if due || p.broker.hasSubscribers() {
			p.publish(ctx, due)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Page) publish(ctx context.Context, sampled bool) {
	bounded, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	snapshot, err := p.source(bounded)
	if ctx.Err() != nil {
		return // the shutdown is all that the snapshot shows, or the error
	}
	if err != nil {
		p.logger.WarnContext(ctx, "the page is not updated", "error", err)
		return
	}
	event, err := encodeEvent("snapshot", snapshot)
	if err != nil {
		p.logger.ErrorContext(ctx, "cannot show a snapshot on the page", "error", err)
		return
	}
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	if sampled {
		p.broker.history.add(sampleOf(snapshot))
	}
	p.broker.latest = event
	for s := range p.broker.subscribers {
		select {
		case s.events <- event:
		default:
			p.broker.evict(s)
			p.logger.DebugContext(ctx, "evicted a page that reads its events too slowly")
		}
	}
}

var errFull = errors.New("too many pages are open, or the server is shutting down: try again in a few seconds")

// subscribe adds a subscriber, whose first events are the history and the
// newest snapshot. It returns errFull when there are maxSubscribers, or after
// close.
func (b *broker) subscribe() (*subscriber, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.subscribers) >= maxSubscribers {
		return nil, errFull
	}
	past, err := encodeEvent("history", struct {
		Samples []sample `json:"samples"`
	}{b.history.samples()})
	if err != nil {
		return nil, err
	}
	s := &subscriber{events: make(chan []byte, maxBacklog)}
	s.events <- past
	if b.latest != nil {
		s.events <- b.latest
	}
	if b.subscribers == nil {
		b.subscribers = make(map[*subscriber]struct{})
	}
	b.subscribers[s] = struct{}{}
	return s, nil
}

// unsubscribe removes a subscriber, unless it was evicted before.
func (b *broker) unsubscribe(s *subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.evict(s)
}

// evict removes a subscriber and closes its channel. The caller holds b.mu.
func (b *broker) evict(s *subscriber) {
	if _, there := b.subscribers[s]; there {
		delete(b.subscribers, s)
		close(s.events)
	}
}

// close evicts every subscriber and lets no more subscribe.
func (b *broker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for s := range b.subscribers {
		b.evict(s)
	}
}

func (b *broker) hasSubscribers() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subscribers) > 0
}

// encodeEvent writes a server-sent event with data in JSON, which has no line
// ends.
func encodeEvent(name string, data any) ([]byte, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode the event %q: %w", name, err)
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, text), nil
}
