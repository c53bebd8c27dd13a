package metrics

import (
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// Of two processes, the one that was called ends; Redis is down meanwhile.
func TestDistressCalls_AreKnownToAllProcesses(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	now := time.Now().Round(0)
	caller := New(lane.All(lane.Options{}), "test")
	caller.Distress(DistressCall{At: now.Add(-time.Hour), App: "traccar", Device: "7", Says: "sos"})
	caller.Distress(DistressCall{At: now, App: "traccar", Device: "7", Says: "sos"})
	caller.Distress(DistressCall{At: now.Add(-25 * time.Hour), App: "traccar", Device: "8", Says: "sos"})

	server.SetError("down")
	require.Error(t, caller.publishOnce(t.Context(), client, "caller"))
	_, err := AllDistressCalls(t.Context(), client, nil, now)
	require.Error(t, err)
	server.SetError("")
	require.NoError(t, caller.publishOnce(t.Context(), client, "caller"))

	calls, err := AllDistressCalls(t.Context(), client, nil, now)
	require.NoError(t, err)
	require.Len(t, calls, 1)
	assert.True(t, now.Equal(calls[0].At))
	assert.Equal(t, "7", calls[0].Device)
	require.Len(t, calls[0].Earlier, 1, "it called before, too")
	assert.True(t, now.Add(-time.Hour).Equal(calls[0].Earlier[0].At))

	calls, err = AllDistressCalls(t.Context(), client, nil, now.Add(23*time.Hour))
	require.NoError(t, err)
	require.Len(t, calls, 1)
	assert.Empty(t, calls[0].Earlier, "it is too old")

	calls, err = AllDistressCalls(t.Context(), client, nil, now.Add(24*time.Hour))
	require.NoError(t, err)
	assert.Empty(t, calls, "a day is over")
	assert.False(t, server.Exists(distressKey))
}

func TestDistressCalls_AreTheNewestOfManySenders(t *testing.T) {
	t.Parallel()
	r, now := New(lane.All(lane.Options{}), "test"), time.Now()
	for i := range 3 * maxDistressCalls {
		r.Distress(DistressCall{At: now.Add(time.Duration(i) * time.Second), App: "osmand", From: fmt.Sprint(i), Device: fmt.Sprint(i)})
	}
	calls := r.DistressCalls(now)
	require.Len(t, calls, maxDistressCalls)
	assert.Equal(t, fmt.Sprint(3*maxDistressCalls-1), calls[maxDistressCalls-1].Device)
}

// A client has a few of them, also where there is no other one.
func TestDistressCalls_OfOneClientAreFew(t *testing.T) {
	t.Parallel()
	r, now := New(lane.All(lane.Options{}), "test"), time.Now()
	for i := range 3 * maxDistressCalls {
		r.Distress(DistressCall{At: now.Add(time.Duration(i) * time.Second), App: "osmand", From: "one", Device: fmt.Sprint(i)})
	}
	calls := r.DistressCalls(now)
	require.Len(t, calls, maxCallsOfClient)
	assert.Equal(t, fmt.Sprint(3*maxDistressCalls-1), calls[maxCallsOfClient-1].Device)
}

// Whoever calls as many devices pushes only own calls out.
func TestDistressCalls_OfOneClientLeaveThoseOfOthers(t *testing.T) {
	t.Parallel()
	r, now := New(lane.All(lane.Options{}), "test"), time.Now()
	for i := range 5 * maxDistressCalls {
		from := fmt.Sprint("many ", i%8)
		if i < 20 {
			from = fmt.Sprint("one ", i)
		}
		r.Distress(DistressCall{At: now.Add(time.Duration(i) * time.Second), App: "osmand", From: from, Device: fmt.Sprint(i)})
	}
	calls := r.DistressCalls(now)
	require.Len(t, calls, maxDistressCalls)
	of := make(map[string]int)
	for i, call := range calls {
		of[call.From]++
		assert.True(t, i == 0 || calls[i-1].At.Before(call.At))
	}
	for i := range 20 {
		assert.Equal(t, 1, of[fmt.Sprint("one ", i)])
	}
	for range 2 * maxDistressCalls {
		now = now.Add(time.Hour / 100)
		r.Distress(DistressCall{At: now, App: "osmand", From: "one 3", Device: fmt.Sprint(now)})
	}
	of["one 3"] = 0
	for _, call := range r.DistressCalls(now) {
		if call.From == "one 3" {
			of["one 3"]++
		}
	}
	assert.LessOrEqual(t, of["one 3"], maxCallsOfClient)
	assert.Positive(t, of["one 3"])
}

// An app calls with each position, for longer than a call is shown.
func TestDistressCalls_KeepWhatWasKnownBefore(t *testing.T) {
	t.Parallel()
	r, start := New(lane.All(lane.Options{}), "test"), time.Now()
	const interval = 5 * time.Second
	now := start.Add(26 * time.Hour)
	for at := start; !at.After(now); at = at.Add(interval) {
		if now.Sub(at) < time.Hour || at.Minute()%10 == 0 {
			r.Distress(DistressCall{At: at, App: "osmand", Device: "7"})
		}
	}
	calls := r.DistressCalls(now)
	require.Len(t, calls, 1)
	assert.Less(t, len(calls[0].Earlier), 250)
	assert.Less(t, now.Sub(calls[0].Earlier[0].At), DistressTTL)
	for delay := interval; delay < 50*time.Minute; delay += 7 * time.Second {
		known, is := calls[0].KnownAt(now.Add(-delay))
		require.True(t, is)
		assert.Zero(t, len(known.Earlier))
		late := now.Add(-delay).Sub(known.At)
		assert.GreaterOrEqual(t, late, time.Duration(0))
		assert.LessOrEqual(t, late, delay/earlierSteps+interval)
	}
	_, is := calls[0].KnownAt(now.Add(-DistressTTL))
	assert.False(t, is)
}

// Processes that got some of the calls each tell of them one after another.
func TestDistressCalls_OfOneSenderComeTogether(t *testing.T) {
	t.Parallel()
	processes := []*Recorder{New(lane.All(lane.Options{}), "a"), New(lane.All(lane.Options{}), "b")}
	now := time.Now().Round(0)
	for second := range 600 {
		processes[second%2].Distress(DistressCall{At: now.Add(time.Duration(second-600) * time.Second), App: "osmand"})
	}
	all := New(lane.All(lane.Options{}), "all")
	for second := range 600 {
		all.Distress(DistressCall{At: now.Add(time.Duration(second-600) * time.Second), App: "osmand"})
	}
	together := newest(append(processes[0].DistressCalls(now), processes[1].DistressCalls(now)...), now)
	assert.Equal(t, all.DistressCalls(now), together)
}
