package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

const (
	// outboxPosts is how many posts wait for a server that is down: ten
	// minutes' worth of a phone that sends every second.
	outboxPosts = 600

	firstRetry   = 250 * time.Millisecond
	slowestRetry = 5 * time.Second
	shownBytes   = 500 // bytes of a refusal that are logged
)

// post is a request that an outbox sends.
type post struct {
	path        string
	contentType string
	body        []byte
}

// outbox sends one pilot's posts, in order, each until the server has accepted
// it. Posts beyond the outboxPosts that may wait are dropped, which is logged.
type outbox struct {
	client *http.Client
	server *url.URL
	token  string // empty = none
	logger *slog.Logger
	queue  chan post

	dropped int // since the last post that found room
}

func newOutbox(client *http.Client, server *url.URL, token string, logger *slog.Logger) *outbox {
	return &outbox{client: client, server: server, token: token, logger: logger, queue: make(chan post, outboxPosts)}
}

// add queues a post without waiting. Only one goroutine may call it.
func (o *outbox) add(p post) {
	select {
	case o.queue <- p:
		if o.dropped > 0 {
			o.logger.Warn("the outbox has room again", "dropped_posts", o.dropped)
			o.dropped = 0
		}
	default:
		if o.dropped == 0 {
			o.logger.Warn("the outbox is full, dropping posts", "waiting_posts", outboxPosts)
		}
		o.dropped++
	}
}

// run sends what is queued until ctx is done.
func (o *outbox) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-o.queue:
			o.deliver(ctx, p)
		}
	}
}

// deliver sends a post again until the server has accepted it, or has refused it
// in a way that sending it again will not change, or ctx is done.
func (o *outbox) deliver(ctx context.Context, p post) {
	delay := firstRetry
	for attempt := 1; ; attempt++ {
		err := o.send(ctx, p)
		var refused *refusedError
		switch {
		case err == nil:
			if attempt > 1 {
				o.logger.Info("the server accepts posts again", "path", p.path, "attempts", attempt)
			}
			return
		case ctx.Err() != nil:
			return
		case errors.As(err, &refused):
			o.logger.Error("the server refused a post", "path", p.path, "error", err)
			return
		case attempt == 1:
			o.logger.Warn("a post failed and is sent again", "path", p.path, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, slowestRetry)
	}
}

// refusedError is a response that will not change.
type refusedError struct {
	status string
	body   []byte
}

func (e *refusedError) Error() string { return fmt.Sprintf("response %s: %s", e.status, e.body) }

// send posts once. It returns a *refusedError for a response that is neither
// success nor a failing server's.
func (o *outbox) send(ctx context.Context, p post) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.server.JoinPath(p.path).String(), bytes.NewReader(p.body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", p.contentType)
	if o.token != "" {
		request.Header.Set("Authorization", "Bearer "+o.token)
	}
	response, err := o.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, shownBytes))
	if err != nil {
		return fmt.Errorf("read the response: %w", err)
	}
	switch {
	case response.StatusCode < 300:
		return nil
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("response %s", response.Status)
	default:
		return &refusedError{status: response.Status, body: body}
	}
}
