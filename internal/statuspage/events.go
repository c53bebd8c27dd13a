package statuspage

import (
	"errors"
	"net/http"
	"time"
)

const (
	// heartbeatInterval is how long a stream is silent before a comment is
	// sent, so that proxies keep the connection.
	heartbeatInterval = 10 * time.Second

	// writeTimeout is how long a client may take to accept one event.
	writeTimeout = 5 * time.Second
)

var heartbeat = []byte(": still here\n\n")

// serveEvents sends the history and then each snapshot, until the client
// disconnects or is evicted, or Run ends.
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	subscriber, err := p.broker.subscribe()
	switch {
	case errors.Is(err, errFull):
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		p.logger.ErrorContext(r.Context(), "cannot show the history on the page", "error", err)
		http.Error(w, "the page cannot be updated, the server's log says why", http.StatusInternalServerError)
		return
	}
	defer p.broker.unsubscribe(subscriber)

	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	// The write deadlines are the connection's, so no other request may get it.
	header.Set("Connection", "close")
	controller := http.NewResponseController(w)
	silence := time.NewTimer(heartbeatInterval)
	defer silence.Stop()
	for {
		event := heartbeat
		select {
		case next, there := <-subscriber.events:
			if !there {
				return
			}
			event = next
		case <-silence.C:
		case <-r.Context().Done():
			return
		}
		if err := writeEvent(w, controller, event); err != nil {
			return
		}
		silence.Reset(heartbeatInterval)
	}
}

// writeEvent sends an event at once, and gives up after writeTimeout where the
// connection can be given a deadline.
func writeEvent(w http.ResponseWriter, controller *http.ResponseController, event []byte) error {
	err := controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := w.Write(event); err != nil {
		return err
	}
	return controller.Flush()
}
