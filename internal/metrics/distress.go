package metrics

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// DistressCall is what the app of a pilot in distress sent. What the app did not say
// is empty or nil.
type DistressCall struct {
	At     time.Time `json:"at"` // when it came
	App    string    `json:"app"`
	From   string    `json:"from,omitempty"`   // the client; see maxCallsOfClient
	Flight string    `json:"flight,omitempty"` // of the position that came with it
	Pilot  string    `json:"pilot,omitempty"`  // of the token
	Race   string    `json:"race,omitempty"`   // of the token
	Device string    `json:"device,omitempty"`
	Says   string    `json:"says"`
	Lat    *float64  `json:"lat,omitempty"` // degrees
	Lon    *float64  `json:"lon,omitempty"`

	// Earlier are the calls of the same sender before this one, oldest first: an app
	// that calls with each position has always just called. The first is there, and
	// of the others the fewer the older they are.
	Earlier []DistressCall `json:"earlier,omitempty"`
}

// KnownAt returns the newest call of the sender that had come at a time.
func (c DistressCall) KnownAt(t time.Time) (call DistressCall, known bool) {
	if !c.At.After(t) {
		c.Earlier = nil
		return c, true
	}
	for _, call := range slices.Backward(c.Earlier) {
		if !call.At.After(t) {
			return call, true
		}
	}
	return DistressCall{}, false
}

// sender is who calls: of each, the newest call is kept, with Earlier. A client may be
// several.
func (c DistressCall) sender() string {
	return fmt.Sprintf("%s %q %q", c.App, c.Pilot, c.Device)
}

const (
	// distressKey is a hash of the newest calls of all processes, in JSON, by the
	// sender.
	distressKey = "tracklane:distress"

	// DistressTTL is how long a call is shown.
	DistressTTL = 24 * time.Hour

	// maxDistressCalls is how many of them are kept, and maxCallsOfClient how many
	// of one client, who can call as any number of devices.
	maxDistressCalls = 50
	maxCallsOfClient = 10

	// earlierSteps is by which part of its age a call is kept apart from those of the
	// same sender, or somewhat closer: some 200 are in a day, and who sees them by a
	// delay sees one that is older than the newest by that part of the delay.
	earlierSteps = 16
)

// distressCalls are those that this process got, in their order of time. They stay
// here until they are too old, so that a Redis that is down, or has forgotten them,
// gets them later.
type distressCalls struct {
	mu    sync.Mutex
	calls []DistressCall
}

func (d *distressCalls) add(call DistressCall) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = newest(append(d.calls, call), call.At)
}

func (d *distressCalls) list(now time.Time) []DistressCall {
	d.mu.Lock()
	defer d.mu.Unlock()
	return newest(d.calls, now)
}

// newest returns the newest call of each sender, in their order of time, without
// those that are too old, and no more than are kept: of those that are too many it
// leaves out the oldest of the client who has the most. It changes none.
func newest(calls []DistressCall, now time.Time) []DistressCall {
	bySender := newestBySender(calls, now)
	byClient := make(map[string][]DistressCall)
	kept := 0
	for _, call := range slices.SortedFunc(maps.Values(bySender), earlier) {
		of := append(byClient[call.From], call)
		byClient[call.From] = of[max(0, len(of)-maxCallsOfClient):]
		kept += len(byClient[call.From]) - len(of) + 1
	}
	for ; kept > maxDistressCalls; kept-- {
		most := slices.MaxFunc(slices.Collect(maps.Values(byClient)), func(a, b []DistressCall) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), earlier(b[0], a[0]))
		})
		byClient[most[0].From] = most[1:]
		if len(most) == 1 {
			delete(byClient, most[0].From)
		}
	}
	all := slices.Concat(slices.Collect(maps.Values(byClient))...)
	slices.SortFunc(all, earlier)
	return all
}

// newestBySender returns the newest call of each sender with those before it, without
// those that are too old.
func newestBySender(calls []DistressCall, now time.Time) map[string]DistressCall {
	bySender := make(map[string][]DistressCall)
	for _, call := range calls {
		sender := call.sender()
		all := append(bySender[sender], call.Earlier...)
		call.Earlier = nil
		all = append(all, call)
		bySender[sender] = slices.DeleteFunc(all, func(c DistressCall) bool { return now.Sub(c.At) >= DistressTTL })
	}
	newest := make(map[string]DistressCall)
	for sender, all := range bySender {
		if len(all) == 0 {
			continue
		}
		slices.SortStableFunc(all, func(a, b DistressCall) int { return a.At.Compare(b.At) })
		kept := thin(all, now)
		call := kept[len(kept)-1]
		call.Earlier = kept[: len(kept)-1 : len(kept)-1]
		newest[sender] = call
	}
	return newest
}

// thin returns the first of a sender's calls, which are in their order, and the last of
// each step of time.
func thin(calls []DistressCall, now time.Time) []DistressCall {
	kept := []DistressCall{calls[len(calls)-1]}
	for i, call := range slices.Backward(calls[:len(calls)-1]) {
		next, step := kept[len(kept)-1].At, stepAt(now.Sub(call.At))
		isFirst := i == 0 && call.At.Before(next)
		if isFirst || call.At.UnixMicro()/step.Microseconds() != next.UnixMicro()/step.Microseconds() {
			kept = append(kept, call)
		}
	}
	slices.Reverse(kept)
	return kept
}

// stepAt is the step at an age. Steps double, so that a call that is not the last of one
// is not that of a later one, in whatever order the calls come together.
func stepAt(age time.Duration) time.Duration {
	step := time.Second
	for 2*step <= age/earlierSteps {
		step *= 2
	}
	return step
}

// earlier orders calls by their times, in the same way in every process.
func earlier(a, b DistressCall) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.sender(), b.sender()))
}

// Distress counts a call of a pilot in distress, and keeps it for the operators.
func (r *Recorder) Distress(call DistressCall) {
	r.distress.WithLabelValues(call.App).Inc()
	r.calls.add(call)
}

// DistressCalls are the newest call of each sender that this process got in the
// last day, oldest first.
func (r *Recorder) DistressCalls(now time.Time) []DistressCall { return r.calls.list(now) }

// publishDistress writes this process's calls to Redis.
func (r *Recorder) publishDistress(ctx context.Context, client redis.UniversalClient, now time.Time) error {
	var fields []any
	for _, call := range r.DistressCalls(now) {
		text, err := json.Marshal(call)
		if err != nil {
			return fmt.Errorf("encode a distress call: %w", err)
		}
		fields = append(fields, call.sender(), text)
	}
	if len(fields) == 0 {
		return nil
	}
	pipe := client.Pipeline()
	pipe.HSet(ctx, distressKey, fields...)
	pipe.Expire(ctx, distressKey, DistressTTL)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("publish the distress calls of this process: %w", err)
	}
	return nil
}

// AllDistressCalls returns the calls that the processes of an installation got in
// the last day, oldest first: those in Redis and own, which may not be there yet. It
// removes what is too old from Redis, and returns an error when that cannot be read.
func AllDistressCalls(ctx context.Context, client redis.UniversalClient, own []DistressCall, now time.Time) ([]DistressCall, error) {
	texts, err := client.HGetAll(ctx, distressKey).Result()
	if err != nil {
		return newest(own, now), fmt.Errorf("read the distress calls: %w", err)
	}
	calls := slices.Clone(own)
	for _, text := range texts {
		var call DistressCall
		if json.Unmarshal([]byte(text), &call) == nil {
			calls = append(calls, call)
		}
	}
	calls = newest(calls, now)
	for _, call := range calls {
		delete(texts, call.sender())
	}
	if len(texts) > 0 {
		if err := client.HDel(ctx, distressKey, slices.Collect(maps.Keys(texts))...).Err(); err != nil {
			return calls, fmt.Errorf("remove old distress calls: %w", err)
		}
	}
	return calls, nil
}
