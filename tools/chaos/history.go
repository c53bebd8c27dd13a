package main

import (
	"slices"
	"sync"
	"time"

	"tracklane/internal/checker"
)

// history remembers each acknowledged request, and when its points were first
// seen in their table. A client sends one request after another and goes on
// only when one is acknowledged, so its acknowledged requests are those below
// a number. Any number of goroutines may use a history at the same time.
type history struct {
	streams []stream
	start   time.Time

	mu      sync.Mutex
	entries []entries // of each stream

	acknowledgedPoints, directPoints int
	lastAcknowledged                 time.Time
	longestAckGap, ackGapEnded       time.Duration
}

// entries are the requests of one stream.
type entries struct {
	sent         checker.History
	acknowledged []acknowledgement
	unseen       []int // acknowledged, and not seen in the table yet
}

// pending reports whether the request after the acknowledged ones was sent.
func (e *entries) pending() bool { return e.sent.Sent() > e.sent.Acknowledged() }

// acknowledgement is when a request was acknowledged. Times are since the
// history's start.
type acknowledgement struct {
	at     time.Duration
	seen   time.Duration // 0: not yet
	direct bool          // by 201
}

// request is an acknowledged request of a stream.
type request struct {
	stream, number int
}

func newHistory(streams []stream, start time.Time) *history {
	return &history{
		streams: streams, start: start,
		entries: make([]entries, len(streams)), lastAcknowledged: start,
	}
}

// next returns the number of the stream's next request, which is then regarded
// as sent.
func (h *history) next(stream int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.entries[stream]
	if !e.pending() {
		e.sent.Next()
	}
	return len(e.acknowledged)
}

// acknowledge notes that the stream's pending request was acknowledged.
func (h *history) acknowledge(stream int, at time.Time, direct bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.entries[stream]
	e.unseen = append(e.unseen, len(e.acknowledged))
	e.sent.Acknowledge(uint64(len(e.acknowledged)))
	e.acknowledged = append(e.acknowledged, acknowledgement{at: at.Sub(h.start), direct: direct})
	h.acknowledgedPoints += h.streams[stream].points
	if direct {
		h.directPoints += h.streams[stream].points
	}
	h.endGap(at)
}

// finish counts the time without an acknowledgement at the end as well. No
// request is on its way.
func (h *history) finish(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endGap(at)
}

// endGap ends the time without an acknowledgement. The lock is held.
func (h *history) endGap(at time.Time) {
	if gap := at.Sub(h.lastAcknowledged); gap > h.longestAckGap {
		h.longestAckGap, h.ackGapEnded = gap, at.Sub(h.start)
	}
	h.lastAcknowledged = at
}

// unseen returns the oldest acknowledged requests of a lane whose points were
// not seen yet, at most limit of each stream: of those that the database refuses,
// or of all others.
func (h *history) unseen(lane string, limit int, refused bool) []request {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []request
	for i := range h.entries {
		e := &h.entries[i]
		if h.streams[i].lane != lane || h.streams[i].isRefused() != refused {
			continue
		}
		for _, number := range e.unseen[:min(limit, len(e.unseen))] {
			found = append(found, request{i, number})
		}
	}
	return found
}

// unseenCount is how many acknowledged requests were not seen yet.
func (h *history) unseenCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := 0
	for i := range h.entries {
		e := &h.entries[i]
		count += len(e.unseen)
	}
	return count
}

// saw notes that all points of the requests are in their table.
func (h *history) saw(requests []request, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range requests {
		e := &h.entries[r.stream]
		if i, found := slices.BinarySearch(e.unseen, r.number); found {
			e.unseen = slices.Delete(e.unseen, i, i+1)
			e.acknowledged[r.number].seen = at.Sub(h.start)
		}
	}
}

// sent returns which requests of a stream were sent and acknowledged. No request
// may be on its way as long as it is used.
func (h *history) sent(stream int) *checker.History {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &h.entries[stream].sent
}

// acknowledgement returns when and how a request was acknowledged.
func (h *history) acknowledgement(r request) acknowledgement {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.entries[r.stream].acknowledged[r.number]
}

// totals is a history in numbers.
type totals struct {
	requests, unacknowledgedRequests int
	points, directPoints             int
	longestAckGap                    time.Duration
	ackGapEnded                      time.Duration // when the longest gap did
	medianWait, p99Wait              time.Duration // from acknowledgement to row
	longest, longestMended           wait
}

// wait is how long an acknowledged request waited for its rows.
type wait struct {
	request
	at   time.Duration // when it was acknowledged
	time time.Duration
}

// totals sums up what the history holds. mended returns when the last fault was
// over that kept points from their tables between two times, or the first of them
// if there was none; nil: there were no faults.
func (h *history) totals(mended func(acknowledged, seen time.Duration) time.Duration) totals {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := totals{
		points: h.acknowledgedPoints, directPoints: h.directPoints,
		longestAckGap: h.longestAckGap, ackGapEnded: h.ackGapEnded,
	}
	var waits []time.Duration
	for stream := range h.entries {
		e := &h.entries[stream]
		t.requests += len(e.acknowledged)
		if e.pending() {
			t.unacknowledgedRequests++
		}
		for number, a := range e.acknowledged {
			if a.seen == 0 {
				continue
			}
			w := wait{request{stream, number}, a.at, a.seen - a.at}
			waits = append(waits, w.time)
			if w.time > t.longest.time {
				t.longest = w
			}
			if mended == nil || w.time <= t.longestMended.time {
				continue
			}
			if w.time = a.seen - mended(a.at, a.seen); w.time > t.longestMended.time {
				t.longestMended = w
			}
		}
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		t.medianWait, t.p99Wait = waits[len(waits)/2], waits[len(waits)*99/100]
	}
	return t
}
