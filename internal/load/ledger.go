package load

import "sync"

// transportError stands among the status codes for a request that got no
// answer.
const transportError = 0

// ledger hands out request numbers and remembers how each was answered. Any
// number of goroutines may use it at once.
type ledger struct {
	mu           sync.Mutex
	next         uint64 // request to hand out
	limit        uint64
	answered     uint64
	answers      map[int]int64 // by status code
	acknowledged bitset
}

func newLedger(limit uint64) *ledger {
	return &ledger{limit: limit, answers: make(map[int]int64)}
}

// take hands out the number of a request to send; ok is false when there are
// no more.
func (l *ledger) take() (number uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == l.limit {
		return 0, false
	}
	l.next++
	return l.next - 1, true
}

// answer notes the status code of a request, or transportError.
func (l *ledger) answer(number uint64, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered++
	l.answers[status]++
	if acknowledges(status) {
		l.acknowledged.add(number)
	}
}

// acknowledges says whether an answer promises that the points are kept.
func acknowledges(status int) bool { return status == 201 || status == 202 }

// counts returns how many requests were answered, and acknowledged, so far.
func (l *ledger) counts() (answered, acknowledged uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered, uint64(l.answers[201] + l.answers[202])
}

// bitset is a set of small numbers; it grows with its largest member.
type bitset []uint64

// add puts a number into the set and says whether it is new there.
func (b *bitset) add(number uint64) bool {
	word, bit := number/64, uint64(1)<<(number%64)
	for word >= uint64(len(*b)) {
		*b = append(*b, 0)
	}
	fresh := (*b)[word]&bit == 0
	(*b)[word] |= bit
	return fresh
}

func (b bitset) has(number uint64) bool {
	word := number / 64
	return word < uint64(len(b)) && b[word]&(1<<(number%64)) != 0
}
