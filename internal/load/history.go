package load

import (
	"maps"
	"sync"

	"tracklane/internal/checker"
)

// transportError stands among the status codes for a request that got no
// response.
const transportError = 0

// history hands out request numbers and records the response to each. Any
// number of goroutines may use it at once.
type history struct {
	mu        sync.Mutex
	requests  checker.History
	limit     uint64
	done      uint64
	responses map[int]int64 // by status code
}

func newHistory(limit uint64) *history {
	return &history{limit: limit, responses: make(map[int]int64)}
}

// next hands out the number of a request to send; ok is false when there are
// no more.
func (h *history) next() (number uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.requests.Sent() == h.limit {
		return 0, false
	}
	return h.requests.Next(), true
}

// record notes the status code of a request's response, or transportError.
func (h *history) record(number uint64, status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done++
	h.responses[status]++
	if acknowledges(status) {
		h.requests.Acknowledge(number)
	}
}

// acknowledges reports whether a response promises that the points are kept.
func acknowledges(status int) bool { return status == 201 || status == 202 }

// counts returns how many requests are done, and acknowledged, so far.
func (h *history) counts() (done, acknowledged uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done, h.requests.Acknowledged()
}

// byStatus returns how many responses there were of each status code so far.
func (h *history) byStatus() map[int]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.responses)
}
