// Package sse writes streams of server-sent events.
package sse

import (
	"errors"
	"net/http"
	"time"
)

const (
	// heartbeatInterval is how long a stream is silent before a comment is
	// sent, so that proxies keep the connection.
	heartbeatInterval = 10 * time.Second

	// WriteTimeout is how long a client may take to accept one event.
	WriteTimeout = 5 * time.Second
)

// Serve sends events, each a whole one in the format of server-sent events, until
// the channel is closed, the client disconnects or does not accept an event in five
// seconds. The events of first come before those of the channel.
func Serve(w http.ResponseWriter, r *http.Request, events <-chan []byte, first ...[]byte) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	// The write deadlines are the connection's, so no other request may get it.
	header.Set("Connection", "close")
	controller := http.NewResponseController(w)
	for _, event := range first {
		if err := write(w, controller, event); err != nil {
			return
		}
	}
	silence := time.NewTimer(heartbeatInterval)
	defer silence.Stop()
	for {
		event := []byte(": still here\n\n")
		select {
		case next, there := <-events:
			if !there {
				return
			}
			event = next
		case <-silence.C:
		case <-r.Context().Done():
			return
		}
		if err := write(w, controller, event); err != nil {
			return
		}
		silence.Reset(heartbeatInterval)
	}
}

// write sends an event at once, and gives up after WriteTimeout where the
// connection can be given a deadline.
func write(w http.ResponseWriter, controller *http.ResponseController, event []byte) error {
	err := controller.SetWriteDeadline(time.Now().Add(WriteTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := w.Write(event); err != nil {
		return err
	}
	return controller.Flush()
}
