package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"tracklane/internal/load"
)

// latencyCase is a load whose responses are timed: one point a request.
type latencyCase struct {
	connections int
	rate        float64       // requests a second; 0: as many as are accepted
	p50, p99    time.Duration // the goals; 0 is none

	// visible is the goal for the time from a response to a row that a SELECT
	// sees; 0: it is not looked at.
	visible time.Duration
}

func (c latencyCase) String() string {
	if c.rate == 0 {
		return fmt.Sprintf("at saturation, %d connections", c.connections)
	}
	return fmt.Sprintf("%.0f requests/s", c.rate)
}

func latencyCases() []latencyCase {
	const p50, p99 = time.Millisecond, 5 * time.Millisecond
	return []latencyCase{
		{connections: 16, rate: 50, p50: p50, p99: p99},
		{connections: 16, rate: 1000, p50: p50, p99: p99, visible: 2500 * time.Millisecond},
		{connections: saturation, p99: 50 * time.Millisecond},
	}
}

// latency is how fast requests got their responses, and points were stored.
type latency struct {
	p50, p99  time.Duration
	perSecond float64
	stored    time.Duration // 99th percentile from acceptance to commit, by the server's own stats
	visible   time.Duration // 99th percentile from response to sight, by a probe
}

const latencyDuration = 20 * time.Second

func measureLatency(ctx context.Context, s *system, c latencyCase) (measured latency, err error) {
	if err := s.reset(ctx); err != nil {
		return measured, err
	}
	err = s.runServer(ctx, "serve", func(ctx context.Context, p *server) error {
		var probing errgroup.Group
		if c.visible > 0 {
			probing.Go(func() (err error) {
				measured.visible, err = s.probe(ctx, p, latencyDuration)
				return err
			})
		}
		report, err := s.send(ctx, p, load.Options{
			Lane: "live", PointsPerRequest: 1, Duration: latencyDuration, Connections: c.connections, Rate: c.rate,
		})
		if probeErr := probing.Wait(); err == nil {
			err = probeErr
		}
		if err != nil {
			return err
		}
		measured.p50, measured.p99, measured.perSecond = report.Latency.P50, report.Latency.P99, report.RequestsPerSecond()
		if c.visible > 0 {
			measured.stored, err = p.endToEnd(ctx)
		}
		return err
	})
	return measured, err
}

// endToEnd asks a process how long 99 % of the points took to their commit.
func (p *server) endToEnd(ctx context.Context) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/queue/status", nil)
	if err != nil {
		return 0, fmt.Errorf("ask for the queue status: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask for the queue status: %w", err)
	}
	defer response.Body.Close()
	var status struct {
		Performance map[string]struct {
			EndToEnd struct{ P99 float64 } `json:"end_to_end_ms"`
		} `json:"performance"`
	}
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		return 0, fmt.Errorf("read the queue status: %w", err)
	}
	return time.Duration(status.Performance["live"].EndToEnd.P99 * float64(time.Millisecond)), nil
}
