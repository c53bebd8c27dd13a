package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

const (
	// bodyBudget is how many bytes of large bodies are in memory at the same
	// time, for all clients together. They count until their request is answered:
	// points made of them take about twice as much again.
	bodyBudget = 64 << 20

	// unmeteredBytes is how much of each body does not count: what a phone
	// sends is never refused because of what others upload.
	unmeteredBytes = 64 << 10

	// acquireStep is how many bytes are acquired from the budget at a time.
	acquireStep = 256 << 10
)

const (
	// largeBody is the size in bytes from which a request waits for its turn.
	// Requests of the live lane are smaller.
	largeBody = 1 << 20

	// largeTimeout bounds that wait.
	largeTimeout = 20 * time.Second
)

// largeRate is how many bytes a second are read of large bodies, of all of them
// together and beyond the first unpacedBytes of each: some 130,000 points. More
// would keep both cores of a small machine busy with reading, decoding and storing
// what is not urgent, and the live lane waiting.
const (
	largeRate    = 8 << 20
	unpacedBytes = 256 << 10
)

// takeTurn waits until no other large request is decoded or ingested, if the
// body is a large one: decoding 16 MB keeps a core busy for some 100 ms, and
// many of them together would keep the small requests waiting. done ends the
// turn.
func (s *Server) takeTurn(ctx context.Context, bytes int) (done func(), problem *problem) {
	if bytes < largeBody {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, largeTimeout)
	defer cancel()
	if s.large.Acquire(ctx, 1) != nil {
		return nil, tooManyLargeRequests()
	}
	return func() { s.large.Release(1) }, nil
}

func tooManyLargeRequests() *problem {
	return &problem{
		Status: http.StatusServiceUnavailable, Title: "Too many large requests at once",
		Detail: "Nothing of this request was kept. Send all of it again after the time in Retry-After.",
	}
}

// errBudget says that the large bodies of other requests use up the budget.
var errBudget = errors.New("too many large bodies at once")

// limitedReader reads a body and acquires from the budget as much as has
// arrived, so that a client that announces much and sends little holds little.
type limitedReader struct {
	ctx      context.Context // the request's
	budget   *semaphore.Weighted
	pace     *rate.Limiter // of what is read beyond unpacedBytes
	source   io.Reader
	read     int64
	acquired int64
}

// Read implements io.Reader. It returns errBudget when the budget is used up, and
// the request's error when that ends while it waits.
func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p[:min(len(p), acquireStep)])
	r.read += int64(n)
	for r.read > unmeteredBytes+r.acquired {
		if !r.budget.TryAcquire(acquireStep) {
			return n, errBudget
		}
		r.acquired += acquireStep
		// A step at a time: each waits behind one of every other large body, so
		// that one that is read in small pieces is not slower.
		if r.acquired > unpacedBytes && err == nil {
			err = r.pace.WaitN(r.ctx, acquireStep)
		}
	}
	return n, err
}

// release returns what was acquired. It may be called once, when the request is
// answered.
func (r *limitedReader) release() { r.budget.Release(r.acquired) }
