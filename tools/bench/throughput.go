package main

import (
	"context"
	"fmt"
	"time"

	"tracklane/internal/load"
)

// workload is one line of the matrix.
type workload struct {
	lane, table string
	points      int // a request

	// The goals: times Telegraf, and the share of CopyFrom; 0 is none.
	telegraf, copyFrom float64
}

func workloads() []workload {
	return []workload{
		{"live", "live_track_points", 1, 1.2, 0},
		{"live", "live_track_points", 10, 1.7, .45},
		{"live", "live_track_points", 100, 2.5, .65},
		uploads(),
	}
}

func uploads() workload { return workload{"upload", "uploaded_track_points", 1000, 2.8, .75} }

func singlePoints() workload { return workloads()[0] }

// throughput is how each of the competitors did in one repeat, in points a
// second that reached the table.
type throughput struct {
	workload
	tracklane, telegraf endToEnd
	copyFrom, unnest    float64
}

// endToEnd is how a server did that accepted requests.
type endToEnd struct {
	pointsPerSecond float64 // 0 when it was not measured
	usage
}

func measureThroughput(ctx context.Context, s *system, w workload, points int) (t throughput, err error) {
	t.workload = w
	if err := s.reset(ctx); err != nil {
		return t, err
	}
	if err := s.runServer(ctx, "serve", func(ctx context.Context, p *server) error {
		var report load.Report
		if t.tracklane, report, err = s.measureEndToEnd(ctx, p, w.table, w.saturating(points)); err != nil {
			return err
		}
		return s.verify(ctx, report)
	}); err != nil {
		return t, fmt.Errorf("tracklane: %w", err)
	}
	if t.copyFrom, err = s.measureBaseline(ctx, w, points, copyRows); err != nil {
		return t, err
	}
	if t.unnest, err = s.measureBaseline(ctx, w, points, unnestRows); err != nil {
		return t, err
	}
	if s.telegraf != "" {
		if t.telegraf, err = s.measureTelegraf(ctx, w, points); err != nil {
			return t, fmt.Errorf("telegraf: %w", err)
		}
	}
	return t, nil
}

// saturating sends so many points as fast as they are accepted.
func (w workload) saturating(points int) load.Options {
	return load.Options{Lane: w.lane, PointsPerRequest: w.points, Requests: points / w.points, Connections: saturation}
}

// measureEndToEnd sends points to a process and takes the time from the first
// request to the last row committed.
func (s *system) measureEndToEnd(ctx context.Context, p *server, table string, o load.Options) (
	e endToEnd, report load.Report, err error,
) {
	before, err := s.cpuTime(p)
	if err != nil {
		return e, report, err
	}
	report, err = s.send(ctx, p, o)
	start := time.Now().Add(-report.Duration)
	if err != nil {
		return e, report, err
	}
	sent, err := s.cpuTime(p)
	if err != nil {
		return e, report, err
	}
	if e.memory, err = s.memoryInUse(p); err != nil {
		return e, report, err
	}
	points := int(report.Points)
	commits, err := s.waitForRows(ctx, table, points)
	if err != nil {
		return e, report, err
	}
	after, err := s.cpuTime(p)
	if err != nil {
		return e, report, err
	}
	e.processor = parts[time.Duration]{
		server:    after.server - before.server,
		redis:     after.redis - before.redis,
		postgres:  after.postgres - before.postgres,
		generator: sent.generator - before.generator,
	}
	stored := 0
	for _, c := range commits {
		stored += c.Rows
	}
	if stored != points {
		return e, report, fmt.Errorf("%d points were sent and %d rows are there", points, stored)
	}
	e.memory.server = max(e.memory.server, processMemory(p.PID(), "status", "VmHWM:"))
	e.pointsPerSecond = float64(points) / commits[len(commits)-1].At.Sub(start).Seconds()
	return e, report, nil
}
