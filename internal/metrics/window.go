package metrics

import (
	"sync"
	"time"
)

// window keeps a lane's figures of the last minute in slots of slotLength, and
// its totals since the process began.
type window struct {
	mu     sync.Mutex
	slots  [slotCount]slot
	totals slot
	began  time.Time
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

func newWindow() *window { return &window{began: time.Now()} }

// add lets count change the present slot. What it counts goes to the totals
// too, but for the histograms.
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

// figures sums the window up.
func (w *window) figures(now time.Time) Figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := Figures{
		PointsAccepted: w.totals.accepted, PointsWritten: w.totals.written,
		Duplicates: w.totals.duplicates, Batches: w.totals.batches, Errors: w.totals.errors,
	}
	// Rates are of the slots that are over: the present one is not full yet.
	present := now.UnixNano() / int64(slotLength)
	const rateSlots = 2
	accepted, written := 0, 0
	for i := range w.slots {
		s := &w.slots[i]
		if age := present - s.index; age < slotCount {
			f.Write.add(s.write)
			f.EndToEnd.add(s.endToEnd)
			if age >= 1 && age <= rateSlots {
				accepted += s.accepted
				written += s.written
			}
		}
	}
	f.AcceptedPerSecond = float64(accepted) / (rateSlots * slotLength.Seconds())
	f.WrittenPerSecond = float64(written) / (rateSlots * slotLength.Seconds())
	return f
}
