package statuspage

import (
	"errors"
	"net/http"

	"tracklane/internal/sse"
)

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
	sse.Serve(w, r, subscriber.events)
}
