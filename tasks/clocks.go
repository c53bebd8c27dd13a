package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
)

const (
	// correctCount is how many scores one script corrects, and maxCorrected bounds
	// one call of correctScores.
	correctCount = 1000
	maxCorrected = 20_000
)

// ClockTolerance is how far the clocks of the processes and of Redis may differ:
// those that are synchronized differ by less, and asynq's times are whole seconds.
const ClockTolerance = 2 * time.Second

// correctScores brings times that are more than ClockTolerance in the future of a
// lane's queue back to now, and returns how many: the times since which small tasks
// wait in their groups, and
// those of tries that are further away than maxRetryDelay. A process whose clock
// is ahead wrote them, or this one's is behind. asynq compares them with the clock
// of the worker, so that now is by that clock; otherwise the tasks would wait for
// as long as the clocks differ.
//
// asynq's leases are times too, but crashedWork goes by how long they do not
// change; and since when a task is pending is only shown.
func correctScores(ctx context.Context, client redis.UniversalClient, l *lane.Lane, now func() time.Time) (corrected int, err error) {
	for more := true; more && corrected < maxCorrected && clock.Sleep(ctx, scanPause); {
		at := now()
		n, err := correctLateScores.Run(ctx, client, []string{retryKey(l), absentKey(l)}, groupKeyPrefix(l), groupCount,
			at.Unix(), at.Add(maxRetryDelay).Unix(), correctCount, int(ClockTolerance.Seconds())).Int()
		if err != nil {
			return corrected, fmt.Errorf("correct the times in the queue %s: %w", l.Name, err)
		}
		corrected += n
		more = n == correctCount
	}
	return corrected, nil
}

// correctLateScores returns how many scores it corrected.
//
//	KEYS retry
//	ARGV prefix of the groups, their number, latest score in a group, in retry,
//	     how many to correct, by how much later a score has to be
var correctLateScores = redis.NewScript(`
	local left = tonumber(ARGV[5])
	local function correct(key, latest)
		if left == 0 then
			return
		end
		for _, id in ipairs(redis.call("ZRANGEBYSCORE", key, "(" .. latest + ARGV[6], "+inf", "LIMIT", 0, left)) do
			redis.call("ZADD", key, latest, id)
			left = left - 1
		end
	end
	for i = 0, ARGV[2] - 1 do
		correct(ARGV[1] .. i, ARGV[3])
	end
	correct(KEYS[1], ARGV[4])
	return ARGV[5] - left`)
