package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHistory_RemembersWhatWasAcknowledgedAndSeen(t *testing.T) {
	start := time.Now()
	after := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	h := newHistory([]stream{
		{id: 0, lane: "live", points: 1},
		{id: 1, lane: "upload", points: 1000},
	}, start)

	assert.Equal(t, 0, h.next(0))
	h.acknowledge(0, after(2), false)
	assert.Equal(t, 1, h.next(0))
	assert.Equal(t, 1, h.next(0), "a request that was not acknowledged is the next one still")
	assert.Equal(t, 0, h.next(1))
	h.acknowledge(1, after(9), true)

	assert.EqualValues(t, 1, h.sent(0).Acknowledged())
	assert.EqualValues(t, 2, h.sent(0).Sent())
	assert.Equal(t, []request{{0, 0}}, h.unseen("live", 10, false))
	assert.Equal(t, []request{{1, 0}}, h.unseen("upload", 10, false))

	h.saw([]request{{1, 0}, {1, 0}}, after(12))
	h.finish(after(10))
	assert.Equal(t, 1, h.unseenCount())
	assert.Equal(t, totals{
		requests: 2, unacknowledgedRequests: 1, points: 1001, directPoints: 1000,
		longestAckGap: 7 * time.Second, ackGapEnded: 9 * time.Second,
		medianWait: 3 * time.Second, p99Wait: 3 * time.Second,
		longest: wait{request{1, 0}, 9 * time.Second, 3 * time.Second},
	}, h.totals(nil))
}

func TestHistory_CountsTheGapBeforeTheFirstAndAfterTheLastAcknowledgement(t *testing.T) {
	start := time.Now()
	streams := []stream{{lane: "live", points: 1}}

	first := newHistory(streams, start)
	first.acknowledge(0, start.Add(5*time.Second), false)
	first.finish(start.Add(6 * time.Second))
	assert.Equal(t, 5*time.Second, first.totals(nil).longestAckGap)

	last := newHistory(streams, start)
	last.acknowledge(0, start.Add(time.Second), false)
	last.finish(start.Add(6 * time.Second))
	assert.Equal(t, 5*time.Second, last.totals(nil).longestAckGap)
}
