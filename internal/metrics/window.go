package metrics

import (
	"sync"
	"time"
)

// window keeps a lane's stats of the last minute in slots of slotLength, and
// its totals since the start of the process.
type window struct {
	mu     sync.Mutex
	slots  [slotCount]slot
	totals slot
}

const (
	slotLength = 5 * time.Second
	slotCount  = 12
)

// slot is what happened within a stretch of time.
type slot struct {
	index      int64 // time in units of slotLength
	accepted   int
	written    int
	duplicates int
	batches    int
	errors     int
	write      Histogram
	endToEnd   Histogram
}

// add calls count with the current slot. What count adds to the slot is added
// to the totals as well, except the histograms.
func (w *window) add(now time.Time, count func(*slot)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	index := now.UnixNano() / int64(slotLength)
	s := &w.slots[index%slotCount]
	if s.index != index {
		*s = slot{index: index}
	}
	before := *s
	count(s)
	w.totals.accepted += s.accepted - before.accepted
	w.totals.written += s.written - before.written
	w.totals.duplicates += s.duplicates - before.duplicates
	w.totals.batches += s.batches - before.batches
	w.totals.errors += s.errors - before.errors
}

// stats sums up the window's slots and the totals.
func (w *window) stats(now time.Time) Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := Stats{
		PointsAccepted: w.totals.accepted, PointsWritten: w.totals.written,
		Duplicates: w.totals.duplicates, Batches: w.totals.batches, Errors: w.totals.errors,
	}
	// Rates are of the slots before the current one, which is not full yet.
	current := now.UnixNano() / int64(slotLength)
	const rateSlots = 2
	accepted, written := 0, 0
	for i := range w.slots {
		s := &w.slots[i]
		if age := current - s.index; age < slotCount {
			total.Write.add(s.write)
			total.EndToEnd.add(s.endToEnd)
			if age >= 1 && age <= rateSlots {
				accepted += s.accepted
				written += s.written
			}
		}
	}
	total.AcceptedPerSecond = float64(accepted) / (rateSlots * slotLength.Seconds())
	total.WrittenPerSecond = float64(written) / (rateSlots * slotLength.Seconds())
	return total
}
