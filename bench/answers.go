package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tracklane/load"
)

// latency is how fast requests are answered, and points visible.
type latency struct {
	connections int
	rate        float64 // requests a second; 0 = as many as are taken
	p50, p99    time.Duration

	// endToEnd is the 99th percentile from the acceptance of a point to its
	// commit, or 0 where it was not measured.
	endToEnd time.Duration
}

// latencyDuration is how long each rate is kept up.
const latencyDuration = 20 * time.Second

func measureLatency(ctx context.Context, s *system) ([]latency, error) {
	var measured []latency
	for _, l := range []latency{{connections: 16, rate: 50}, {connections: 16, rate: 1000}, {connections: 64}} {
		if err := s.empty(ctx); err != nil {
			return nil, err
		}
		p, err := s.start(ctx, "serve")
		if err != nil {
			return nil, err
		}
		report, err := s.send(ctx, p, load.Options{
			Lane: "live", PointsPerRequest: 1, Duration: latencyDuration, Connections: l.connections, Rate: l.rate,
		})
		if err == nil && l.rate == 1000 {
			l.endToEnd, err = p.endToEnd(ctx)
		}
		if stopErr := p.stop(); err == nil {
			err = stopErr
		}
		if err != nil {
			return nil, err
		}
		l.p50, l.p99 = report.Latency.P50, report.Latency.P99
		measured = append(measured, l)
	}
	return measured, nil
}

// endToEnd asks a process how long points took to their commit.
func (p *process) endToEnd(ctx context.Context) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/queue/status", nil)
	if err != nil {
		return 0, fmt.Errorf("ask for the queue status: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask for the queue status: %w", err)
	}
	defer answer.Body.Close()
	var status struct {
		Performance map[string]struct {
			EndToEnd struct{ P99 float64 } `json:"end_to_end_ms"`
		} `json:"performance"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		return 0, fmt.Errorf("read the queue status: %w", err)
	}
	return time.Duration(status.Performance["live"].EndToEnd.P99 * float64(time.Millisecond)), nil
}
