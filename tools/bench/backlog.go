package main

import (
	"context"
	"fmt"
)

// backlog is how a long queue changes what comes before and after it, in
// points a second.
type backlog struct {
	acceptedFirst, acceptedLast float64 // into an empty queue, and into the full one
	drained                     float64 // with nearly all of it still waiting
	api, worker                 int64   // peaks of the resident memory, bytes
}

// measureBacklog lets points wait and then writes some of them, as many as the
// writer alone had to write in all.
func measureBacklog(ctx context.Context, s *system, points, waiting int) (b backlog, err error) {
	w := uploads()
	if err := s.reset(ctx); err != nil {
		return b, err
	}
	// By default the queue ends at 5,000,000 points.
	limit := fmt.Sprintf("MAX_WAITING_POINTS=%d", 2*waiting)
	if err := s.runServer(ctx, "api", func(ctx context.Context, p *server) error {
		for queued := 0; queued < waiting; queued += points {
			report, err := s.enqueue(ctx, p, w, points, saturation)
			if err != nil {
				return err
			}
			b.acceptedLast = report.PointsPerSecond()
			if queued == 0 {
				b.acceptedFirst = b.acceptedLast
			}
		}
		b.api = processMemory(p.PID(), "status", "VmHWM:")
		return nil
	}, limit); err != nil {
		return b, err
	}
	if err := s.runServer(ctx, "worker", func(ctx context.Context, p *server) error {
		commits, err := s.waitForRows(ctx, w.table, points)
		if err != nil {
			return err
		}
		b.drained = rate(commits, points)
		b.worker = processMemory(p.PID(), "status", "VmHWM:")
		return nil
	}, limit); err != nil {
		return b, err
	}
	return b, s.reset(ctx)
}
