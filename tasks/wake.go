package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

// wakeInterval is how often groups that nobody looks at are searched for.
const wakeInterval = 20 * time.Second

// wakeGroups makes asynq look at groups again that hold tasks but are missing
// from the queue's list of groups. A process that dies while it aggregates
// leaves such groups behind: asynq gives the tasks back to the group and
// forgets to list it.
//
// The keys are those of asynq v0.26; TestStrandedGroupIsWoken fails when they
// change.
func wakeGroups(ctx context.Context, client redis.UniversalClient, l *lane.Lane) (woken int, err error) {
	prefix := queuePrefix(l)
	// Both keys lie in the queue's hash slot, so this runs on a cluster too.
	script := redis.NewScript(`
		local woken = 0
		for i = 0, ARGV[2] - 1 do
			if redis.call("ZCARD", ARGV[1] .. i) > 0 then
				woken = woken + redis.call("SADD", KEYS[1], i)
			end
		end
		return woken`)
	woken, err = script.Run(ctx, client, []string{prefix + "groups"}, prefix+"g:", groupCount).Int()
	if err != nil {
		return 0, fmt.Errorf("wake the groups of the lane %s: %w", l.Name, err)
	}
	return woken, nil
}
