package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"

	"tracklane/load"
)

// workload is one line of the matrix.
type workload struct {
	lane, table string
	points      int // a request

	// The goals: times Telegraf, and the share of CopyFrom; 0 is none.
	telegraf, copyFrom float64
}

func cases() []workload {
	return []workload{
		{"live", "live_track_points", 1, 1.2, 0},
		{"live", "live_track_points", 10, 1.7, .45},
		{"live", "live_track_points", 100, 2.5, .65},
		{"upload", "uploaded_track_points", 1000, 2.8, .75},
	}
}

// throughput is points a second that reached the table.
type throughput struct {
	workload
	tracklane, copy, unnest, competitor float64
	cpu                                 time.Duration // of tracklane, for the run
	sent                                int
}

func measureCase(ctx context.Context, s *system, w workload, o options) (m throughput, err error) {
	m.workload, m.sent = w, o.points
	if err := s.empty(ctx); err != nil {
		return m, err
	}
	p, err := s.start(ctx, "serve")
	if err != nil {
		return m, err
	}
	report, err := s.send(ctx, p, load.Options{
		Lane: w.lane, PointsPerRequest: w.points, Requests: o.points / w.points, Verify: true,
	})
	m.cpu = p.cpu()
	if stopErr := p.stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return m, fmt.Errorf("tracklane: %w", err)
	}
	m.tracklane = float64(report.AcknowledgedPoints) / (report.Duration + report.Verification.Took).Seconds()

	for _, way := range []struct {
		figure *float64
		write  func(context.Context, *pgx.Conn, string, []row) error
	}{{&m.copy, copyRows}, {&m.unnest, unnestRows}} {
		if err := s.empty(ctx); err != nil {
			return m, err
		}
		took, err := s.writeOnTwoConnections(ctx, w, o.points, way.write)
		if err != nil {
			return m, err
		}
		*way.figure = float64(o.points) / took.Seconds()
	}
	if o.telegraf != "" {
		m.competitor, err = s.measureTelegraf(ctx, o, w)
	}
	return m, err
}

// measureWriter times a worker that finds every point in Redis already, against
// CopyFrom. It returns both in points a second.
func measureWriter(ctx context.Context, s *system, points int) (drained [2]float64, err error) {
	w := cases()[3]
	if err := s.empty(ctx); err != nil {
		return drained, err
	}
	if err := s.fill(ctx, w, points); err != nil {
		return drained, err
	}
	worker, err := s.start(ctx, "worker")
	if err != nil {
		return drained, err
	}
	// The clock starts with the first rows, not with the process.
	first, err := s.waitForRows(ctx, w.table, 1)
	begun := time.Now()
	if err == nil {
		_, err = s.waitForRows(ctx, w.table, points)
	}
	took := time.Since(begun)
	if stopErr := worker.stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return drained, err
	}
	drained[0] = float64(points-first) / took.Seconds()
	if err := s.empty(ctx); err != nil {
		return drained, err
	}
	took, err = s.writeOnTwoConnections(ctx, w, points, copyRows)
	drained[1] = float64(points) / took.Seconds()
	return drained, err
}

// fill puts points into Redis and leaves them there.
func (s *system) fill(ctx context.Context, w workload, points int) error {
	api, err := s.start(ctx, "api")
	if err != nil {
		return err
	}
	_, err = s.send(ctx, api, load.Options{Lane: w.lane, PointsPerRequest: w.points, Requests: points / w.points, Connections: 4})
	if stopErr := api.stop(); err == nil {
		err = stopErr
	}
	return err
}

// telegrafTimeout bounds how long Telegraf may take to write what it took.
const telegrafTimeout = 5 * time.Minute

// measureTelegraf sends the same load to Telegraf, which writes it into a table
// of its own without a key.
func (s *system) measureTelegraf(ctx context.Context, o options, w workload) (pointsPerSecond float64, err error) {
	if _, err := s.pool.Exec(ctx, `DROP TABLE IF EXISTS points`); err != nil {
		return 0, fmt.Errorf("drop Telegraf's table: %w", err)
	}
	file, url, err := s.writeTelegrafConfig()
	if err != nil {
		return 0, err
	}
	p, err := startProcess(ctx, exec.Command(o.telegraf, "--config", file, "--quiet"), url, "/live", 405)
	if err != nil {
		return 0, err
	}
	defer func() { _ = p.stop() }()
	begun := time.Now()
	if _, err := s.send(ctx, p, load.Options{Lane: w.lane, PointsPerRequest: w.points, Requests: o.points / w.points}); err != nil {
		return 0, fmt.Errorf("compare with Telegraf: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, telegrafTimeout)
	defer cancel()
	if _, err := s.waitForRows(bounded, "points", o.points); err != nil {
		return 0, fmt.Errorf("compare with Telegraf: %w", err)
	}
	return float64(o.points) / time.Since(begun).Seconds(), nil
}
