package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats is what one lane did: in one process, or in all of them when added.
type Stats struct {
	// The totals since the start of the process.
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

// Add adds another process's stats of the same lane.
func (s *Stats) Add(other Stats) {
	s.PointsAccepted += other.PointsAccepted
	s.PointsWritten += other.PointsWritten
	s.Duplicates += other.Duplicates
	s.Batches += other.Batches
	s.Errors += other.Errors
	s.AcceptedPerSecond += other.AcceptedPerSecond
	s.WrittenPerSecond += other.WrittenPerSecond
	s.Write.add(other.Write)
	s.EndToEnd.add(other.EndToEnd)
}

// PointsPerBatch is the mean size of the batches written, duplicates included;
// 0 when there was none.
func (s Stats) PointsPerBatch() float64 {
	if s.Batches == 0 {
		return 0
	}
	return float64(s.PointsWritten+s.Duplicates) / float64(s.Batches)
}

// Stats returns this process's stats by the lane's name.
func (r *Recorder) Stats(now time.Time) map[string]Stats {
	stats := make(map[string]Stats, len(r.lanes))
	for name, lr := range r.lanes {
		stats[name] = lr.window.stats(now)
	}
	return stats
}

const (
	// statsKey is a hash of every process's stats in JSON, by the process's
	// id; one key, so that a cluster needs no scan.
	statsKey = "tracklane:stats"

	// publishInterval is how often a process publishes its stats.
	publishInterval = time.Second

	// statsTTL is how old published stats may be before their process counts
	// as dead.
	statsTTL = 10 * time.Second
)

type published struct {
	At    time.Time        `json:"at"`
	Lanes map[string]Stats `json:"lanes"`
}

// Publish writes the stats to Redis under the process's id, and the distress calls
// that this process got, once a second
// until ctx ends, and then removes them. While Redis is down it does nothing.
func (r *Recorder) Publish(ctx context.Context, client redis.UniversalClient, id string) {
	ticker := time.NewTicker(publishInterval)
	defer ticker.Stop()
	for {
		// A Redis that is down is reported elsewhere, and the next stats
		// include these.
		_ = r.publishOnce(ctx, client, id)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = client.HDel(last, statsKey, id).Err()
			return
		}
	}
}

func (r *Recorder) publishOnce(ctx context.Context, client redis.UniversalClient, id string) error {
	now := time.Now()
	text, err := json.Marshal(published{At: now, Lanes: r.Stats(now)})
	if err != nil {
		return fmt.Errorf("encode the stats of this process: %w", err)
	}
	if err := client.HSet(ctx, statsKey, id, text).Err(); err != nil {
		return fmt.Errorf("publish the stats of this process: %w", err)
	}
	return r.publishDistress(ctx, client, now)
}

// Aggregate adds up, by the lane's name, the stats of every process that
// published within statsTTL, and removes those of processes that died. It
// returns an error when Redis cannot be read or written.
func Aggregate(ctx context.Context, client redis.UniversalClient) (map[string]Stats, error) {
	all, err := client.HGetAll(ctx, statsKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read the stats of all processes: %w", err)
	}
	sum := make(map[string]Stats)
	for id, text := range all {
		var p published
		if err := json.Unmarshal([]byte(text), &p); err != nil || time.Since(p.At) > statsTTL {
			if err := client.HDel(ctx, statsKey, id).Err(); err != nil {
				return nil, fmt.Errorf("remove the stats of a process that died: %w", err)
			}
			continue
		}
		for name, stats := range p.Lanes {
			total := sum[name]
			total.Add(stats)
			sum[name] = total
		}
	}
	return sum, nil
}
