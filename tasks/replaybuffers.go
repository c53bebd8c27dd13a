package tasks

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tracklane/internal/lane"
	"tracklane/store"
)

// replayBuffers are the replay buffers of the lanes: one for all, or on a cluster,
// whose servers may be lost one at a time, one for each. They share one bound.
type replayBuffers struct {
	all    []*replayBuffer
	byLane map[string]*replayBuffer
}

// newReplayBuffers returns empty buffers, which have no function yet that queues an
// entry again.
func newReplayBuffers(client redis.UniversalClient, lanes []*lane.Lane, writer *store.Writer, reportFull func(bool), logger *slog.Logger) *replayBuffers {
	b := &replayBuffers{byLane: make(map[string]*replayBuffer)}
	space := &replaySpace{reportFull: reportFull}
	for _, l := range lanes {
		if len(b.all) == 0 || isCluster(client) {
			b.all = append(b.all, &replayBuffer{
				client: client, lane: l, writer: writer, replicas: newReplicas(), space: space, logger: logger,
			})
		}
		b.byLane[l.Name] = b.all[len(b.all)-1]
	}
	return b
}

// of returns the buffer of a lane.
func (b *replayBuffers) of(l *lane.Lane) *replayBuffer { return b.byLane[l.Name] }

// run looks after the entries until ctx ends.
func (b *replayBuffers) run(ctx context.Context) {
	b.each(func(r *replayBuffer) { r.run(ctx) })
}

// flush is that of each buffer, at the same time.
func (b *replayBuffers) flush(ctx context.Context) {
	b.each(func(r *replayBuffer) { r.flush(ctx) })
}

func (b *replayBuffers) each(work func(*replayBuffer)) {
	var parts sync.WaitGroup
	for r := range slices.Values(b.all) {
		parts.Go(func() { work(r) })
	}
	parts.Wait()
}

// probe returns nil if every server accepts writes and its replicas receive them.
func (b *replayBuffers) probe(ctx context.Context) error {
	var group errgroup.Group
	for _, r := range b.all {
		group.Go(func() error { return r.probe(ctx) })
	}
	return group.Wait()
}
