package checker

// Result is how the stored points compare with the history, in points.
type Result struct {
	Stored         int64 // acknowledged points that are there
	Missing        int64 // acknowledged points that are not
	Duplicates     int64 // rows beyond the first of a point
	Unacknowledged int64 // points that are there though their request was not acknowledged, as when its response was lost
	Unexpected     int64 // rows of points that were never sent
}

// OK reports whether each acknowledged point is stored once, and nothing is
// stored that was not sent.
func (r Result) OK() bool { return r.Missing == 0 && r.Duplicates == 0 && r.Unexpected == 0 }

// Add adds the numbers of another comparison.
func (r *Result) Add(other Result) {
	r.Stored += other.Stored
	r.Missing += other.Missing
	r.Duplicates += other.Duplicates
	r.Unacknowledged += other.Unacknowledged
	r.Unexpected += other.Unexpected
}

// Tally compares stored rows with a history, row by row. It is not safe for
// concurrent use, and the history must not change meanwhile.
type Tally struct {
	history *History
	points  uint64 // a request
	seen    bitset // points
	found   Result
}

// NewTally returns a tally without rows. Each of the history's requests has
// pointsPerRequest points.
func NewTally(history *History, pointsPerRequest int) *Tally {
	return &Tally{history: history, points: uint64(pointsPerRequest)}
}

// Row counts a row that holds the point of that number. It reports whether the
// point's request was sent; if not, the row counts as unexpected.
func (t *Tally) Row(point uint64) (sent bool) {
	request := point / t.points
	switch {
	case request >= t.history.Sent():
		t.found.Unexpected++
		return false
	case !t.seen.add(point):
		t.found.Duplicates++
	case t.history.IsAcknowledged(request):
		t.found.Stored++
	default:
		t.found.Unacknowledged++
	}
	return true
}

// UnexpectedRow counts a row that is none of the run's points.
func (t *Tally) UnexpectedRow() { t.found.Unexpected++ }

// Result compares what was counted so far; all rows must have been.
func (t *Tally) Result() Result {
	found := t.found
	found.Missing = int64(t.history.Acknowledged()*t.points) - found.Stored
	return found
}

// Loss is an acknowledged request of which points are missing.
type Loss struct {
	Request uint64
	Points  int // that are missing
}

// Losses lists the acknowledged requests of which points are missing.
func (t *Tally) Losses() []Loss {
	var losses []Loss
	for request := range t.history.Sent() {
		if !t.history.IsAcknowledged(request) {
			continue
		}
		missing := 0
		for point := request * t.points; point < (request+1)*t.points; point++ {
			if !t.seen.has(point) {
				missing++
			}
		}
		if missing > 0 {
			losses = append(losses, Loss{request, missing})
		}
	}
	return losses
}
