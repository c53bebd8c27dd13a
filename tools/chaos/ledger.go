package main

import (
	"slices"
	"sync"
	"time"
)

// ledger remembers each acknowledged request, and when its points were first
// seen in their table. A client sends one request after another and goes on
// only when one is acknowledged, so its acknowledged requests are those below
// a number. Any number of goroutines may use a ledger at the same time.
type ledger struct {
	streams []stream
	begun   time.Time

	mu      sync.Mutex
	entries []entries // of each stream

	acknowledgedPoints, directPoints int
	lastAcknowledged                 time.Time
	longestSilence, silenceEnded     time.Duration
}

// entries are the requests of one stream.
type entries struct {
	acknowledged []acknowledgement
	pending      bool  // the request after those was sent at least once
	unseen       []int // acknowledged, and not seen in the table yet
}

// acknowledgement says when a request was acknowledged. Times are since the
// ledger's beginning.
type acknowledgement struct {
	at     time.Duration
	seen   time.Duration // 0: not yet
	direct bool          // by 201
}

// request is an acknowledged request of a stream.
type request struct {
	stream, number int
}

func newLedger(streams []stream, begun time.Time) *ledger {
	return &ledger{
		streams: streams, begun: begun,
		entries: make([]entries, len(streams)), lastAcknowledged: begun,
	}
}

// next returns the number of the stream's next request, which is then regarded
// as sent.
func (l *ledger) next(stream int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[stream].pending = true
	return len(l.entries[stream].acknowledged)
}

// acknowledge notes that the stream's pending request was acknowledged.
func (l *ledger) acknowledge(stream int, at time.Time, direct bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[stream]
	e.unseen = append(e.unseen, len(e.acknowledged))
	e.acknowledged = append(e.acknowledged, acknowledgement{at: at.Sub(l.begun), direct: direct})
	e.pending = false
	l.acknowledgedPoints += l.streams[stream].points
	if direct {
		l.directPoints += l.streams[stream].points
	}
	l.heard(at)
}

// finish counts the silence at the end as well. No request is on its way.
func (l *ledger) finish(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard(at)
}

// heard ends a silence. The lock is held.
func (l *ledger) heard(at time.Time) {
	if silence := at.Sub(l.lastAcknowledged); silence > l.longestSilence {
		l.longestSilence, l.silenceEnded = silence, at.Sub(l.begun)
	}
	l.lastAcknowledged = at
}

// unseen returns the oldest acknowledged requests of a lane whose points were
// not seen yet, at most limit of each stream.
func (l *ledger) unseen(lane string, limit int) []request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []request
	for i, e := range l.entries {
		if l.streams[i].lane != lane {
			continue
		}
		for _, number := range e.unseen[:min(limit, len(e.unseen))] {
			found = append(found, request{i, number})
		}
	}
	return found
}

// unseenCount is how many acknowledged requests were not seen yet.
func (l *ledger) unseenCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, e := range l.entries {
		count += len(e.unseen)
	}
	return count
}

// saw notes that all points of the requests are in their table.
func (l *ledger) saw(requests []request, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range requests {
		e := &l.entries[r.stream]
		if i, found := slices.BinarySearch(e.unseen, r.number); found {
			e.unseen = slices.Delete(e.unseen, i, i+1)
			e.acknowledged[r.number].seen = at.Sub(l.begun)
		}
	}
}

// requests returns how many requests of a stream were acknowledged, and
// whether another was sent.
func (l *ledger) requests(stream int) (acknowledged int, pending bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[stream]
	return len(e.acknowledged), e.pending
}

// acknowledgement returns when and how a request was acknowledged.
func (l *ledger) acknowledgement(r request) acknowledgement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[r.stream].acknowledged[r.number]
}

// totals is a ledger in numbers.
type totals struct {
	requests, unanswered         int
	points, directPoints         int
	longestSilence               time.Duration
	silenceEnded                 time.Duration // when the longest silence did
	medianWait, p99Wait, maxWait time.Duration // from acknowledgement to row
	slowest                      request       // the one that waited longest
	slowestAt                    time.Duration // when it was acknowledged
}

// totals sums up what the ledger holds.
func (l *ledger) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := totals{points: l.acknowledgedPoints, directPoints: l.directPoints, longestSilence: l.longestSilence, silenceEnded: l.silenceEnded}
	var waits []time.Duration
	for stream, e := range l.entries {
		t.requests += len(e.acknowledged)
		if e.pending {
			t.unanswered++
		}
		for number, a := range e.acknowledged {
			if a.seen == 0 {
				continue
			}
			wait := a.seen - a.at
			waits = append(waits, wait)
			if wait > t.maxWait {
				t.maxWait, t.slowest, t.slowestAt = wait, request{stream, number}, a.at
			}
		}
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		t.medianWait, t.p99Wait = waits[len(waits)/2], waits[len(waits)*99/100]
	}
	return t
}
