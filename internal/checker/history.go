// Package checker compares the points that a run's clients sent, request by
// request, with the rows that a lane's table holds.
//
// A run numbers its requests from 0 and sends equally many points with each; the
// number of a point is that of its request times the points of a request, plus
// its place in the request. Nothing of what was sent is kept but a bit for each
// acknowledged request: a run must know its points by their numbers.
package checker

// History remembers which requests of a run were sent, and which of them were
// acknowledged. The zero value has none. It is not safe for concurrent use.
type History struct {
	sent              uint64
	acknowledgedCount uint64
	acknowledged      bitset
}

// Next returns the number of the next request, which is then regarded as sent.
func (h *History) Next() uint64 {
	h.sent++
	return h.sent - 1
}

// Acknowledge records that a request was acknowledged. A second time changes
// nothing.
func (h *History) Acknowledge(request uint64) {
	if h.acknowledged.add(request) {
		h.acknowledgedCount++
	}
}

// Sent is the number of requests that were sent.
func (h *History) Sent() uint64 { return h.sent }

// Acknowledged is the number of requests that were acknowledged.
func (h *History) Acknowledged() uint64 { return h.acknowledgedCount }

// IsAcknowledged reports whether a request was acknowledged.
func (h *History) IsAcknowledged(request uint64) bool { return h.acknowledged.has(request) }

// bitset is a set of small numbers; it grows with its largest member.
type bitset []uint64

// add puts a number into the set and reports whether it is new there.
func (b *bitset) add(number uint64) bool {
	word, bit := number/64, uint64(1)<<(number%64)
	for word >= uint64(len(*b)) {
		*b = append(*b, 0)
	}
	isNew := (*b)[word]&bit == 0
	(*b)[word] |= bit
	return isNew
}

func (b bitset) has(number uint64) bool {
	word := number / 64
	return word < uint64(len(b)) && b[word]&(1<<(number%64)) != 0
}
