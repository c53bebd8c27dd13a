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
	// snapshotInterval is how often watchers get new figures.
	snapshotInterval = time.Second

	// sourceTimeout bounds one call of the source.
	sourceTimeout = 2 * time.Second

	// maxWatchers is how many pages may be open at the same time.
	maxWatchers = 200

	// maxBacklog is how many events a watcher may be behind before it is
	// dropped; its page then connects again.
	maxBacklog = 5
)

// stream is what all watchers share.
type stream struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
	ended    bool
	history  history
	latest   []byte // the newest snapshot's event
}

// watcher is one open page. Its channel is closed when it has to go.
type watcher struct{ events chan []byte }

// Run takes a snapshot each second while a page is open, and every five seconds
// for the history whether or not, until ctx ends. Then it ends the events of
// every open page, which http.Server.Shutdown would wait for, so ctx must end
// before Shutdown is called. Run may be called once.
func (p *Page) Run(ctx context.Context) {
	defer p.stream.end()
	ticker := time.NewTicker(snapshotInterval)
	defer ticker.Stop()
	var sampled time.Time
	for {
		// Ticks are not exact, so that one may come just before its time.
		due := time.Since(sampled) > sampleInterval-snapshotInterval/2
		if due {
			sampled = time.Now()
		}
		if due || p.stream.watched() {
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
	p.stream.mu.Lock()
	defer p.stream.mu.Unlock()
	if sampled {
		p.stream.history.add(sampleOf(snapshot))
	}
	p.stream.latest = event
	for w := range p.stream.watchers {
		select {
		case w.events <- event:
		default:
			p.stream.drop(w)
			p.logger.DebugContext(ctx, "dropped a page that reads its events too slowly")
		}
	}
}

var errFull = errors.New("too many pages are open, or the server is shutting down: try again in a few seconds")

// join adds a watcher, whose first events are the history and the newest
// snapshot. It returns errFull when there is no place, or after the end.
func (s *stream) join() (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.watchers) >= maxWatchers {
		return nil, errFull
	}
	past, err := encodeEvent("history", struct {
		Samples []sample `json:"samples"`
	}{s.history.samples()})
	if err != nil {
		return nil, err
	}
	w := &watcher{events: make(chan []byte, maxBacklog)}
	w.events <- past
	if s.latest != nil {
		w.events <- s.latest
	}
	if s.watchers == nil {
		s.watchers = make(map[*watcher]struct{})
	}
	s.watchers[w] = struct{}{}
	return w, nil
}

// leave removes a watcher, if it was not dropped before.
func (s *stream) leave(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(w)
}

// drop removes a watcher while s.mu is held.
func (s *stream) drop(w *watcher) {
	if _, there := s.watchers[w]; there {
		delete(s.watchers, w)
		close(w.events)
	}
}

// end drops every watcher and lets no more join.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for w := range s.watchers {
		s.drop(w)
	}
}

func (s *stream) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers) > 0
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
