package tasks

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

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
	recovered, err = script.Run(ctx, client, []string{groupsKey(l)}, groupKeyPrefix(l), groupCount).Int()
	if err != nil {
		return 0, fmt.Errorf("recover the orphaned groups of the queue %s: %w", l.Name, err)
	}
	return recovered, nil
}
