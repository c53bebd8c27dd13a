package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Figures is what one lane did: in one process, or in all of them when added.
type Figures struct {
	// The totals since the process began.
	PointsAccepted int `json:"accepted"`
	PointsWritten  int `json:"written"`
	Duplicates     int `json:"duplicates"`
	Batches        int `json:"batches"`
	Errors         int `json:"errors"`

	// The rates of the last ten seconds, in points a second.
	AcceptedPerSecond float64 `json:"accepted_rate"`
	WrittenPerSecond  float64 `json:"written_rate"`

	// The durations of the last minute: of a batch's write, and of each point
	// from its acceptance to its commit.
	Write    Histogram `json:"write"`
	EndToEnd Histogram `json:"end_to_end"`
}

// Add adds another process's figures.
func (f *Figures) Add(other Figures) {
	f.PointsAccepted += other.PointsAccepted
	f.PointsWritten += other.PointsWritten
	f.Duplicates += other.Duplicates
	f.Batches += other.Batches
	f.Errors += other.Errors
	f.AcceptedPerSecond += other.AcceptedPerSecond
	f.WrittenPerSecond += other.WrittenPerSecond
	f.Write.add(other.Write)
	f.EndToEnd.add(other.EndToEnd)
}

// Figures returns this process's figures, by lane.
func (r *Recorder) Figures(now time.Time) map[string]Figures {
	figures := make(map[string]Figures, len(r.lanes))
	for _, own := range r.lanes {
		figures[own.name] = own.window.figures(now)
	}
	return figures
}

const (
	// sharedKey is a hash of every process's figures in JSON, by the process's
	// id; one key, so that a cluster needs no scan.
	sharedKey = "tracklane:figures"

	// publishInterval is how often a process publishes its figures.
	publishInterval = time.Second

	// sharedLifetime is how old figures may be before their process counts as
	// dead.
	sharedLifetime = 10 * time.Second
)

type published struct {
	At    time.Time          `json:"at"`
	Lanes map[string]Figures `json:"lanes"`
}

// Publish shares the figures under the process's id until ctx ends, and then
// takes them back. While Redis is away it does nothing.
func (r *Recorder) Publish(ctx context.Context, client redis.UniversalClient, id string) {
	ticker := time.NewTicker(publishInterval)
	defer ticker.Stop()
	for {
		// Redis being away shows elsewhere; the next figures hold these too.
		_ = r.publishOnce(ctx, client, id)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = client.HDel(last, sharedKey, id).Err()
			return
		}
	}
}

func (r *Recorder) publishOnce(ctx context.Context, client redis.UniversalClient, id string) error {
	now := time.Now()
	text, err := json.Marshal(published{At: now, Lanes: r.Figures(now)})
	if err != nil {
		return fmt.Errorf("encode the figures of this process: %w", err)
	}
	if err := client.HSet(ctx, sharedKey, id, text).Err(); err != nil {
		return fmt.Errorf("publish the figures of this process: %w", err)
	}
	return nil
}

// Shared adds up, by lane, the figures of every process that published any
// lately, and removes those of processes that died.
func Shared(ctx context.Context, client redis.UniversalClient) (map[string]Figures, error) {
	all, err := client.HGetAll(ctx, sharedKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the figures of all processes: %w", err)
	}
	sum := make(map[string]Figures)
	for id, text := range all {
		var p published
		if err := json.Unmarshal([]byte(text), &p); err != nil || time.Since(p.At) > sharedLifetime {
			if err := client.HDel(ctx, sharedKey, id).Err(); err != nil {
				return nil, fmt.Errorf("remove the figures of a process that died: %w", err)
			}
			continue
		}
		for name, f := range p.Lanes {
			total := sum[name]
			total.Add(f)
			sum[name] = total
		}
	}
	return sum, nil
}
