package livestream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
	"tracklane/tasks"
)

// Publisher tells the hubs of all processes which points were committed. It never
// makes a writer wait: what cannot be told is left out, and the hubs are told to
// look into the database. Any number of goroutines may use it.
type Publisher struct {
	redis   redis.UniversalClient
	cluster bool
	channel string
	queue   chan []byte

	quietUntil atomic.Int64 // Unix ns; nobody listens until then, as far as is known
	gap        atomic.Bool  // something was left out
}

const (
	// publishQueue is how many batches wait to be published.
	publishQueue = 64

	// publishTimeout bounds the publishing of a batch.
	publishTimeout = time.Second

	// quietTime is for how long nothing is published after nobody listened.
	quietTime = time.Second

	// A message begins with one of these, and the points follow as tasks.Encode
	// writes them.
	complete   = 0
	afterGap   = 1
	headLength = 1
)

// Channel is the Redis channel of the installation whose data is in a database of
// Redis: channels are those of all databases of a server.
func Channel(database int) string { return fmt.Sprintf("tracklane:live:%d", database) }

// NewPublisher returns a publisher that uses a channel of Redis. Run makes it work.
func NewPublisher(client redis.UniversalClient, channel string) *Publisher {
	_, cluster := client.(*redis.ClusterClient)
	return &Publisher{redis: client, cluster: cluster, channel: channel, queue: make(chan []byte, publishQueue)}
}

// Publish publishes points that were committed, if they are of the lane live and
// somebody listened lately. It keeps nothing of them.
func (p *Publisher) Publish(points *lane.Points) {
	now := time.Now()
	if points.Lane.Name != liveLane || now.UnixNano() < p.quietUntil.Load() {
		return
	}
	news := newsOf(points, now)
	if news.Len() == 0 {
		return
	}
	message := tasks.Encode([]byte{complete}, news)
	select {
	case p.queue <- message:
	default:
		p.gap.Store(true)
	}
}

// newsOf returns the points of the last maxLate and, of each track with older ones, the
// last of these: of a flight of long ago viewers need to know no more than that it is there.
func newsOf(points *lane.Points, now time.Time) *lane.Points {
	since := now.Add(-maxLate).UnixMicro()
	news := *points
	news.Rows = make([]lane.Row, 0, points.Len())
	lastOld := make(map[int32]lane.Row)
	for _, row := range points.Rows {
		if row.Time > since {
			news.Rows = append(news.Rows, row)
		} else if last, there := lastOld[row.TrackIndex]; !there || row.Time > last.Time {
			lastOld[row.TrackIndex] = row
		}
	}
	news.Rows = slices.AppendSeq(news.Rows, maps.Values(lastOld))
	return &news
}

// Missed says that points were committed that nobody was told of.
func (p *Publisher) Missed() { p.gap.Store(true) }

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	for {
		select {
		case message := <-p.queue:
			p.send(ctx, message)
		case <-ctx.Done():
			return
		}
	}
}

func (p *Publisher) send(ctx context.Context, message []byte) {
	gap := p.gap.Swap(false)
	if gap {
		message[0] = afterGap
	}
	bounded, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	listeners, err := p.redis.Publish(bounded, p.channel, message).Result()
	if err != nil {
		p.gap.Store(true)
	}
	// A server of a cluster passes a message on to the others, and counts those alone
	// who listen to itself.
	if err != nil || listeners == 0 && !p.cluster {
		p.quietUntil.Store(time.Now().Add(quietTime).UnixNano())
	}
}
