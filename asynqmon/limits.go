package asynqmon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxPageSize is how many tasks a list shows at the most, whatever the UI
	// asks for.
	maxPageSize = 20

	// maxBody is the largest body of a change, in bytes, and maxBatch how many
	// tasks it may name: more than a page shows. asynqmon logs each one that it
	// does not find.
	maxBody  = 64 << 10
	maxBatch = 5 * maxPageSize

	// listTimeout is how long a list waits for the one before it.
	listTimeout = 5 * time.Second
)

// limiter keeps what visitors ask for from taking what the lanes need: it passes
// on one list of tasks at a time, each of one page, and changes of few tasks.
type limiter struct {
	next    http.Handler
	listing chan struct{} // holds a token while a list is read
}

func newLimiter(next http.Handler) *limiter {
	return &limiter{next: next, listing: make(chan struct{}, 1)}
}

// ServeHTTP implements http.Handler.
func (l *limiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, reason := limitBatch(r); reason != "" {
		http.Error(w, reason, status)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "_tasks") {
		l.next.ServeHTTP(w, r)
		return
	}
	timer := time.NewTimer(listTimeout)
	defer timer.Stop()
	select {
	case l.listing <- struct{}{}:
		defer func() { <-l.listing }()
		l.next.ServeHTTP(w, limitPage(r))
	case <-timer.C:
		http.Error(w, "Another list is being read: try again.", http.StatusServiceUnavailable)
	case <-r.Context().Done():
	}
}

// limitBatch reads the body of r, which the next handler reads again, and returns
// why it is refused; the reason is empty when it is not.
func limitBatch(r *http.Request) (status int, reason string) {
	if r.Body == nil || r.Body == http.NoBody {
		return 0, ""
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge, "A body must not exceed 64 kB."
	}
	if err != nil {
		return http.StatusBadRequest, "The body ended before it was complete."
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var batch struct {
		IDs []json.RawMessage `json:"task_ids"`
	}
	if json.Unmarshal(body, &batch) == nil && len(batch.IDs) > maxBatch {
		return http.StatusRequestEntityTooLarge, "A request must not name more than " + strconv.Itoa(maxBatch) + " tasks."
	}
	return 0, "" // what is no JSON is asynqmon's to refuse
}

// limitPage returns r with its page size within maxPageSize. A larger one, or
// 0, would fetch every payload of a queue at once.
func limitPage(r *http.Request) *http.Request {
	query := r.URL.Query()
	size, err := strconv.Atoi(query.Get("size"))
	if err != nil || size >= 1 && size <= maxPageSize {
		return r
	}
	query.Set("size", strconv.Itoa(maxPageSize))
	limited := r.Clone(r.Context())
	limited.URL.RawQuery = query.Encode()
	return limited
}
