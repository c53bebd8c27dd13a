package tasks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

// waitingCounter counts the points that wait in Redis, in one key a lane, which
// all processes share. A process gathers what it adds and subtracts, and flushes
// that once a second; its own points count at once. Any number of goroutines may
// use one at the same time.
//
// Each task that Redis acknowledged adds its points, one of the replay buffer too,
// and each that was done subtracts them, so that the number is exact a second
// after the last change, but for these, which change it once each:
//
//   - A process that is killed loses what it had not flushed: a second of its
//     additions and subtractions.
//   - A write that Redis executed and did not acknowledge in time is not added. A
//     task that is done twice, since its worker lost its lease or a crash left it
//     both in a group and in a batch, is subtracted twice.
//   - What Redis forgot and the replay buffer enqueues again is added twice, if the
//     first count was not forgotten as well.
//   - What an operator deletes, or what a version that did not count enqueues, is
//     not counted.
//
// heal ends such an error once the queue is empty, and within seconds when the number
// has become negative. A queue that is never empty keeps it until then. Between processes the bound lags by a second: each may admit what
// the others admit in a second in excess.
type waitingCounter struct {
	client  redis.UniversalClient
	process string // in the keys of its flushes
	initial func(context.Context, *lane.Lane) (int, error)

	flushing sync.Mutex // held during a flush

	mu       sync.Mutex
	lanes    []*laneWaiting
	byName   map[string]*laneWaiting
	reserved int // points admitted whose write has not ended
}

// laneWaiting is the points of one lane: what Redis had at the last flush, what the
// current flush adds, and what the next one will.
type laneWaiting struct {
	lane     *lane.Lane
	exists   bool // the key does
	known    int
	inFlight int
	next     int
	flush    int // number of the current flush, or of the last one that added something
}

func (w *laneWaiting) points() int { return max(0, w.known+w.inFlight+w.next) }

// newWaitingCounter returns a counter. initial says how many points wait in a queue
// that was filled by a version which did not count.
func newWaitingCounter(client redis.UniversalClient, lanes []*lane.Lane, initial func(context.Context, *lane.Lane) (int, error)) *waitingCounter {
	c := &waitingCounter{
		client: client, process: strconv.FormatUint(rand.Uint64(), 36), initial: initial,
		byName: make(map[string]*laneWaiting),
	}
	for _, l := range lanes {
		w := &laneWaiting{lane: l}
		c.lanes = append(c.lanes, w)
		c.byName[l.Name] = w
	}
	return c
}

// add counts points that Redis acknowledged; a negative number are points that are
// done.
func (c *waitingCounter) add(l *lane.Lane, points int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byName[l.Name].next += points
}

// total is how many points wait in all queues, and how many are on their way there
// from this process.
func (c *waitingCounter) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totalLocked()
}

func (c *waitingCounter) totalLocked() int {
	total := c.reserved
	for _, w := range c.lanes {
		total += w.points()
	}
	return total
}

// reserve reports whether so many more points keep the total within a limit, and
// counts them until they are released.
func (c *waitingCounter) reserve(points int, limit float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if float64(c.totalLocked()+points) > limit {
		return false
	}
	c.reserved += points
	return true
}

// release ends a reservation: those of the points that Redis has were added.
func (c *waitingCounter) release(points int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved -= points
}

// flushedLifetime is how long Redis remembers the last flush of a process.
const flushedLifetime = time.Hour

// flushScript adds a flush to the counter unless it did before, and returns the
// number of points.
//
//	KEYS counter, last flush of the process
//	ARGV number of the flush, points, lifetime in s
const flushScript = `
	if redis.call("GET", KEYS[2]) ~= ARGV[1] then
		redis.call("SET", KEYS[2], ARGV[1], "EX", ARGV[3])
		redis.call("INCRBY", KEYS[1], ARGV[2])
	end
	return redis.call("GET", KEYS[1])`

// flush adds to Redis what was gathered, and learns what the others added, in one
// round trip. What Redis does not acknowledge goes with the next flush, which adds
// it once even if Redis had executed this one.
func (c *waitingCounter) flush(ctx context.Context) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	if err := c.initialize(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	for _, w := range c.lanes {
		if w.inFlight == 0 && w.next != 0 {
			w.inFlight, w.next = w.next, 0
			w.flush++
		}
	}
	c.mu.Unlock()
	commands, _ := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, w := range c.lanes {
			if w.inFlight == 0 {
				pipe.Do(ctx, "GET", waitingKey(w.lane)) // writes nothing, so that Redis syncs nothing
				continue
			}
			pipe.Eval(ctx, flushScript, []string{waitingKey(w.lane), waitingKey(w.lane) + ":" + c.process},
				w.flush, w.inFlight, int(flushedLifetime.Seconds()))
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for i, w := range c.lanes {
		points, err := commands[i].(*redis.Cmd).Int()
		if err != nil && !errors.Is(err, redis.Nil) {
			errs = append(errs, fmt.Errorf("count the waiting points of the queue %s: %w", w.lane.Name, err))
			continue
		}
		w.known, w.inFlight = points, 0
	}
	return errors.Join(errs...)
}

// initialize makes the keys that are missing: in a new Redis, or where a version
// that did not count has filled the queues.
func (c *waitingCounter) initialize(ctx context.Context) error {
	for _, w := range c.lanes {
		if w.exists {
			continue
		}
		exists, err := c.client.Exists(ctx, waitingKey(w.lane)).Result()
		if err == nil && exists == 0 {
			err = c.makeKey(ctx, w)
		}
		if err != nil {
			return fmt.Errorf("start to count the waiting points of the queue %s: %w", w.lane.Name, err)
		}
		w.exists = true
	}
	return nil
}

func (c *waitingCounter) makeKey(ctx context.Context, w *laneWaiting) error {
	c.mu.Lock()
	included := w.next // in what the queue holds
	c.mu.Unlock()
	points, err := c.initial(ctx, w.lane)
	if err != nil {
		return err
	}
	made, err := c.client.SetNX(ctx, waitingKey(w.lane), points, 0).Result()
	if made {
		c.add(w.lane, -included)
	}
	return err
}

// waitingHealer sets a lane's counter right where it is surely wrong.
type waitingHealer struct {
	client redis.UniversalClient
	lane   *lane.Lane
	last   string // the wrong number at the last look; empty if it was right
}

// heal sets the counter to 0 when two calls in a row find that it is not 0 though the
// queue is empty, and that it has not changed; or find it negative. What processes
// have not flushed explains the first look only, so calls must be at least 3 s apart.
func (h *waitingHealer) heal(ctx context.Context) (healed bool, err error) {
	found, err := healWaiting.Run(ctx, h.client, []string{waitingKey(h.lane), absentKey(h.lane)}, queuePrefix(h.lane), h.last, groupCount).StringSlice()
	if err != nil {
		return false, fmt.Errorf("check the number of waiting points of the queue %s: %w", h.lane.Name, err)
	}
	h.last = found[0]
	return found[1] == "healed", nil
}

// healWaiting returns the wrong number or an empty text, and whether it was healed.
//
//	KEYS counter
//	ARGV the queue's prefix, wrong number at the last look, number of groups
var healWaiting = redis.NewScript(`
	local text = redis.call("GET", KEYS[1]) or "0"
	local points, last = tonumber(text), tonumber(ARGV[2])
	local function empty()
		for _, list in ipairs({"pending", "active"}) do
			if redis.call("LLEN", ARGV[1] .. list) > 0 then
				return false
			end
		end
		for _, set in ipairs({"scheduled", "retry", "archived", "aggregation_sets"}) do
			if redis.call("ZCARD", ARGV[1] .. set) > 0 then
				return false
			end
		end
		for i = 0, ARGV[3] - 1 do
			if redis.call("ZCARD", ARGV[1] .. "g:" .. i) > 0 then
				return false
			end
		end
		return true
	end
	if points == 0 or points > 0 and not empty() then
		return {"", ""}
	end
	if last and (points == last or points < 0 and last < 0) then
		redis.call("SET", KEYS[1], 0)
		return {"", "healed"}
	end
	return {text, ""}`)
