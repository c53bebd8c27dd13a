package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
)

// recoverOrphanedGroups lists again the groups of a lane that hold tasks but
// are missing from the queue's set of groups, and returns how many there were.
// A process that dies while it aggregates a group leaves it like that: asynq's
// recovery gives the tasks back to the group but does not list the group, so
// that no worker would aggregate it until its next task comes.
func recoverOrphanedGroups(ctx context.Context, client redis.UniversalClient, l *lane.Lane) (recovered int, err error) {
	// All keys lie in the queue's hash slot, so this runs on a cluster too.
	script := redis.NewScript(`
		local recovered = 0
		for i = 0, ARGV[2] - 1 do
			if redis.call("ZCARD", ARGV[1] .. i) > 0 then
				recovered = recovered + redis.call("SADD", KEYS[1], i)
			end
		end
		return recovered`)
	recovered, err = script.Run(ctx, client, []string{groupsKey(l), absentKey(l)}, groupKeyPrefix(l), groupCount).Int()
	if err != nil {
		return 0, fmt.Errorf("recover the orphaned groups of the queue %s: %w", l.Name, err)
	}
	return recovered, nil
}

// orphanSearch finds orphaned tasks, which no list of their queue names, and
// queues them again. asynq leaves some when it trims its archive: the task
// stays, and nothing would ever take it.
//
// A pass scans the keys of Redis once, scanCount at a time with a pause of
// scanPause. Over a million pending tasks it took 70 s, 16 MB, and a tenth of a
// core of Redis, whose other commands' p99 went from 1.1 to 2.0 ms. A task that
// becomes an orphan is queued again by the first pass that begins after that, which
// is within a minute while Redis has up to 250,000 keys.
type orphanSearch struct {
	client redis.UniversalClient
	lanes  []*lane.Lane
	logger *slog.Logger

	locked time.Time // when the lock was last extended
}

func newOrphanSearch(client redis.UniversalClient, lanes []*lane.Lane, logger *slog.Logger) *orphanSearch {
	return &orphanSearch{client: client, lanes: lanes, logger: logger}
}

const (
	// orphanLockKey exists while a worker searches, and then until orphanLockTime
	// has passed since it last extended it. It also spaces the passes.
	orphanLockKey  = "tracklane:orphan_search"
	orphanLockTime = 15 * time.Second

	// orphanInterval is how often each worker tries to get the lock.
	orphanInterval = 5 * time.Second

	// The pace of a pass: a step looks at scanCount tasks or reads pendingPage
	// entries of a list, and a pause follows.
	scanCount   = 200
	pendingPage = 2000
	scanPause   = 10 * time.Millisecond

	// secondLook is how long an orphan must have been one.
	secondLook = time.Second

	// maxSuspects bounds the memory of a pass: 16 bytes each. With more, it
	// checks those and goes on.
	maxSuspects = 1_000_000

	// requeueCount and requeueEntries bound one script: so many tasks, and so many
	// entries of the list of pending tasks, through which it looks for each.
	requeueCount   = 100
	requeueEntries = 100_000
)

// errLockLost ends a pass: another worker may search now.
var errLockLost = errors.New("the lock of the search for orphaned tasks is lost")

// run searches whenever no other worker does, until ctx ends.
func (s *orphanSearch) run(ctx context.Context) {
	every(ctx, orphanInterval, func() {
		locked, err := s.lock(ctx)
		found := 0
		if err == nil && locked {
			found, err = s.pass(ctx)
		}
		if found > 0 {
			s.logger.Warn("tasks that were in no list are queued again", "tasks", found)
		}
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("orphaned tasks were not searched for to the end", "error", err)
		}
	})
}

// lock reports whether this worker may search now.
func (s *orphanSearch) lock(ctx context.Context) (bool, error) {
	s.locked = time.Now()
	locked, err := s.client.SetNX(ctx, orphanLockKey, 1, orphanLockTime).Result()
	if err != nil {
		return false, fmt.Errorf("lock the search for orphaned tasks: %w", err)
	}
	return locked, nil
}

// pause ends a step of a pass.
func (s *orphanSearch) pause(ctx context.Context, duration time.Duration) error {
	if time.Since(s.locked) > orphanLockTime/3 {
		s.locked = time.Now()
		held, err := s.client.PExpire(ctx, orphanLockKey, orphanLockTime).Result()
		if err == nil && !held {
			err = errLockLost
		}
		if err != nil {
			return err
		}
	}
	clock.Sleep(ctx, duration)
	return ctx.Err()
}

// suspects are tasks of one lane that may be orphans.
type suspects struct {
	lane    *lane.Lane
	pending []uuid.UUID // their state is pending; whether the list has them is not known
	other   []string    // ids of tasks that were orphans at the first look
}

// pass looks at all tasks once, on each server that has queues, and returns how many
// were queued again.
func (s *orphanSearch) pass(ctx context.Context) (requeued int, err error) {
	servers, err := serversOf(ctx, s.client, s.lanes)
	if err != nil {
		return 0, err
	}
	for _, server := range servers {
		n, err := s.passServer(ctx, server)
		requeued += n
		if err != nil {
			return requeued, err
		}
	}
	return requeued, nil
}

// passServer looks at the tasks on one server.
func (s *orphanSearch) passServer(ctx context.Context, server *redis.Client) (requeued int, err error) {
	all := make([]*suspects, len(s.lanes))
	for i, l := range s.lanes {
		all[i] = &suspects{lane: l}
	}
	for cursor := uint64(0); ; {
		var keys []string
		keys, cursor, err = server.Scan(ctx, cursor, "asynq:{*}:t:*", scanCount).Result()
		if err != nil {
			return requeued, fmt.Errorf("scan the tasks of Redis: %w", err)
		}
		count := 0
		for _, each := range all {
			if err := s.firstLook(ctx, each, keys); err != nil {
				return requeued, err
			}
			count += len(each.pending) + len(each.other)
		}
		if cursor == 0 || count > maxSuspects {
			n, err := s.settle(ctx, all)
			requeued += n
			if err != nil || cursor == 0 {
				return requeued, err
			}
		}
		if err := s.pause(ctx, scanPause); err != nil {
			return requeued, err
		}
	}
}

// firstLook adds those of the keys that may be orphans of the lane.
func (s *orphanSearch) firstLook(ctx context.Context, of *suspects, keys []string) error {
	var ids []string
	prefix := taskKeyPrefix(of.lane)
	for _, key := range keys {
		if id, ok := strings.CutPrefix(key, prefix); ok {
			ids = append(ids, id)
		}
	}
	pending, other, err := s.look(ctx, of.lane, ids)
	if err != nil {
		return err
	}
	of.other = append(of.other, other...)
	for _, text := range pending {
		if id, err := uuid.Parse(text); err == nil && id.String() == text {
			of.pending = append(of.pending, id)
		} else {
			of.other = append(of.other, text) // asynq's own ids are UUIDs
		}
	}
	return nil
}

// settle queues the orphans among the suspects again, returns how many they were,
// and leaves no suspects.
func (s *orphanSearch) settle(ctx context.Context, all []*suspects) (requeued int, err error) {
	for _, each := range all {
		if err := s.subtractListed(ctx, each); err != nil {
			return requeued, err
		}
	}
	for _, each := range all {
		ids := each.other
		each.other = nil
		if len(ids) == 0 {
			continue
		}
		if err := s.pause(ctx, secondLook); err != nil {
			return requeued, err
		}
		n, err := s.requeue(ctx, each.lane, ids)
		requeued += n
		if err != nil {
			return requeued, err
		}
	}
	return requeued, nil
}

// subtractListed makes other suspects of those pending ones that the list of
// pending tasks does not have. The list is read after the tasks, so that one that
// was queued meanwhile is in it; one that was taken meanwhile is no longer pending.
func (s *orphanSearch) subtractListed(ctx context.Context, of *suspects) error {
	if len(of.pending) == 0 {
		return nil
	}
	slices.SortFunc(of.pending, compareUUIDs)
	of.pending = slices.Compact(of.pending) // SCAN may return a key twice
	listed := make([]bool, len(of.pending))
	for start := int64(0); ; start += pendingPage {
		page, err := s.client.LRange(ctx, pendingKey(of.lane), start, start+pendingPage-1).Result()
		if err != nil {
			return fmt.Errorf("read the pending tasks of the queue %s: %w", of.lane.Name, err)
		}
		for _, text := range page {
			if id, err := uuid.Parse(text); err == nil {
				if i, ok := slices.BinarySearchFunc(of.pending, id, compareUUIDs); ok {
					listed[i] = true
				}
			}
		}
		if len(page) < pendingPage {
			break
		}
		if err := s.pause(ctx, scanPause); err != nil {
			return err
		}
	}
	for i, id := range of.pending {
		if !listed[i] {
			of.other = append(of.other, id.String())
		}
	}
	of.pending = nil
	return nil
}

func compareUUIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

// requeue queues those tasks again that are still orphans.
func (s *orphanSearch) requeue(ctx context.Context, l *lane.Lane, ids []string) (requeued int, err error) {
	var orphans []string
	for chunk := range slices.Chunk(ids, scanCount) {
		pending, other, err := s.look(ctx, l, chunk)
		if err != nil {
			return 0, err
		}
		orphans = append(append(orphans, pending...), other...)
		if err := s.pause(ctx, scanPause); err != nil {
			return 0, err
		}
	}
	for len(orphans) > 0 {
		length, err := s.client.LLen(ctx, pendingKey(l)).Result()
		if err != nil {
			return requeued, fmt.Errorf("read the length of the queue %s: %w", l.Name, err)
		}
		count := min(len(orphans), max(1, min(requeueCount, requeueEntries/int(length+1))))
		n, err := requeueOrphans.Run(ctx, s.client, []string{pendingKey(l), absentKey(l)},
			scriptArguments(l, time.Now(), orphans[:count])...).Int()
		if err != nil {
			return requeued, fmt.Errorf("queue orphaned tasks of the queue %s again: %w", l.Name, err)
		}
		requeued += n
		orphans = orphans[count:]
		if err := s.pause(ctx, scanPause); err != nil {
			return requeued, err
		}
	}
	return requeued, nil
}

// look returns which of a lane's tasks are pending, and which others are in no
// list.
func (s *orphanSearch) look(ctx context.Context, l *lane.Lane, ids []string) (pending, other []string, err error) {
	if len(ids) == 0 {
		return nil, nil, nil
	}
	found, err := findOrphans.Run(ctx, s.client, []string{pendingKey(l), absentKey(l)}, scriptArguments(l, time.Now(), ids)...).StringSlice()
	if err != nil {
		return nil, nil, fmt.Errorf("look at tasks of the queue %s: %w", l.Name, err)
	}
	for i := 0; i+1 < len(found); i += 2 {
		if found[i+1] == "pending" {
			pending = append(pending, found[i])
		} else {
			other = append(other, found[i])
		}
	}
	return pending, other, nil
}

// scriptArguments are those that requeueLua reads, and behind them ids of tasks.
func scriptArguments(l *lane.Lane, now time.Time, ids []string) []any {
	arguments := []any{queuePrefix(l), now.Unix(), now.UnixNano()}
	for _, id := range ids {
		arguments = append(arguments, id)
	}
	return arguments
}

// requeueLua is the function that puts a task which is in no list back into its
// group, or else into its queue, as asynq does with one whose next try is due. It
// does nothing with an id that has no task, and returns how many tasks it queued.
//
//	KEYS pending
//	ARGV the queue's prefix, Unix time in s, in ns
const requeueLua = `
	local function requeue(id, key)
		if redis.call("HEXISTS", key, "msg") == 0 then
			return 0
		end
		local group = redis.call("HGET", key, "group")
		if group and group ~= "" then
			redis.call("HSET", key, "state", "aggregating")
			redis.call("ZADD", ARGV[1] .. "g:" .. group, ARGV[2], id)
			redis.call("SADD", ARGV[1] .. "groups", group)
		else
			redis.call("HSET", key, "state", "pending", "pending_since", ARGV[3])
			redis.call("LPUSH", KEYS[1], id)
		end
		return 1
	end`

// orphanLua is the function that returns the state of a task which is pending or
// which is in no list, and false for any other. A completed task was written;
// where there is no message, there is no task. Pending is what most tasks are, so
// that costs one command.
const orphanLua = `
	local sets
	local function listed(id, key, state)
		if state == "active" then
			return redis.call("ZSCORE", ARGV[1] .. "lease", id)
		end
		if state ~= "aggregating" then
			return redis.call("ZSCORE", ARGV[1] .. state, id)
		end
		local group = ARGV[1] .. "g:" .. (redis.call("HGET", key, "group") or "")
		if redis.call("ZSCORE", group, id) then
			return true
		end
		sets = sets or redis.call("ZRANGE", ARGV[1] .. "aggregation_sets", 0, -1)
		for _, set in ipairs(sets) do
			if string.sub(set, 1, #group + 1) == group .. ":" and redis.call("ZSCORE", set, id) then
				return true
			end
		end
		return false
	end
	local function orphan(id, key)
		local state = redis.call("HGET", key, "state") or ""
		if state == "pending" then
			return state
		end
		return state ~= "completed" and not listed(id, key, state) and redis.call("HEXISTS", key, "msg") == 1 and state
	end`

// findOrphans returns the ids of the orphans, and of all pending tasks, each with
// its state behind it.
var findOrphans = redis.NewScript(orphanLua + `
	local found = {}
	for i = 4, #ARGV do
		local state = orphan(ARGV[i], ARGV[1] .. "t:" .. ARGV[i])
		if state then
			found[#found + 1] = ARGV[i]
			found[#found + 1] = state
		end
	end
	return found`)

// requeueOrphans queues those of the tasks again that are orphans, and returns
// how many they were.
var requeueOrphans = redis.NewScript(orphanLua + requeueLua + `
	local requeued = 0
	for i = 4, #ARGV do
		local id, key = ARGV[i], ARGV[1] .. "t:" .. ARGV[i]
		local state = orphan(id, key)
		if state and (state ~= "pending" or not redis.call("LPOS", KEYS[1], id)) then
			if state == "active" then
				redis.call("LREM", ARGV[1] .. "active", 0, id)
			end
			requeued = requeued + requeue(id, key)
		end
	end
	return requeued`)

const (
	// runArchivedCount is how many archived tasks one script queues again, and
	// maxRunArchived bounds one call of runArchived. asynq keeps 10,000.
	runArchivedCount = 500
	maxRunArchived   = 10_000
)

// runArchived queues archived tasks of a lane again, some maxRunArchived at most,
// and returns how many. tracklane archives none, so that an operator did.
func runArchived(ctx context.Context, client redis.UniversalClient, l *lane.Lane, now time.Time) (ran int, err error) {
	for more := true; more && ran < maxRunArchived && clock.Sleep(ctx, scanPause); {
		n, err := runArchivedTasks.Run(ctx, client, []string{pendingKey(l), absentKey(l)}, scriptArguments(l, now, nil)...).Int()
		if err != nil {
			return ran, fmt.Errorf("run the archived tasks of the queue %s: %w", l.Name, err)
		}
		ran += n
		more = n == runArchivedCount
	}
	return ran, nil
}

// runArchivedTasks queues the oldest archived tasks again and returns how many
// they were.
var runArchivedTasks = redis.NewScript(requeueLua + fmt.Sprintf(`
	local archived, ran = ARGV[1] .. "archived", 0
	for _, id in ipairs(redis.call("ZRANGE", archived, 0, %d)) do
		redis.call("ZREM", archived, id)
		ran = ran + requeue(id, ARGV[1] .. "t:" .. id)
	end
	return ran`, runArchivedCount-1))
