package checker

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// sent returns a history of that many requests, the acknowledged ones among them.
func sent(requests int, acknowledged ...uint64) *History {
	var h History
	for range requests {
		h.Next()
	}
	for _, request := range acknowledged {
		h.Acknowledge(request)
	}
	return &h
}

func TestHistory(t *testing.T) {
	t.Parallel()
	h := sent(130, 0, 129, 129)
	assert.EqualValues(t, 130, h.Sent())
	assert.EqualValues(t, 2, h.Acknowledged(), "a request is acknowledged once")
	assert.True(t, h.IsAcknowledged(129))
	assert.False(t, h.IsAcknowledged(1))
	assert.False(t, h.IsAcknowledged(1000))
	assert.EqualValues(t, 130, h.Next())
}

func TestTally(t *testing.T) {
	t.Parallel()
	// Two points a request; request 2 was sent and not acknowledged.
	for _, c := range []struct {
		name   string
		rows   []uint64
		want   Result
		losses []Loss
	}{
		{name: "every acknowledged point once", rows: []uint64{3, 1, 0, 2}, want: Result{Stored: 4}},
		{name: "points of a request without a response", rows: []uint64{0, 1, 2, 3, 5}, want: Result{Stored: 4, Unacknowledged: 1}},
		{name: "an acknowledged point missing", rows: []uint64{0, 1, 3, 4, 5},
			want: Result{Stored: 3, Missing: 1, Unacknowledged: 2}, losses: []Loss{{1, 1}}},
		{name: "nothing stored", want: Result{Missing: 4}, losses: []Loss{{0, 2}, {1, 2}}},
		{name: "a point three times", rows: []uint64{0, 0, 0, 1, 2, 3}, want: Result{Stored: 4, Duplicates: 2}},
		{name: "a point of a request that was not sent", rows: []uint64{0, 1, 2, 3, 6}, want: Result{Stored: 4, Unexpected: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tally := NewTally(sent(3, 0, 1), 2)
			for _, point := range c.rows {
				assert.Equal(t, point < 6, tally.Row(point))
			}
			assert.Equal(t, c.want, tally.Result())
			assert.Equal(t, c.want.Missing == 0 && c.want.Duplicates == 0 && c.want.Unexpected == 0, tally.Result().OK())
			assert.Equal(t, c.losses, tally.Losses())
		})
	}
}

func TestTally_UnexpectedRow(t *testing.T) {
	t.Parallel()
	tally := NewTally(sent(0), 1)
	tally.UnexpectedRow()
	assert.Equal(t, Result{Unexpected: 1}, tally.Result())
	total := Result{Stored: 1, Missing: 2, Duplicates: 3, Unacknowledged: 4, Unexpected: 5}
	total.Add(tally.Result())
	assert.Equal(t, Result{Stored: 1, Missing: 2, Duplicates: 3, Unacknowledged: 4, Unexpected: 6}, total)
}
