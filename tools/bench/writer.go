package main

import "context"

// writerAlone is a worker that finds every point in Redis, beside CopyFrom, in
// points a second.
type writerAlone struct{ drained, copyFrom float64 }

func measureWriter(ctx context.Context, s *system, points int) (alone writerAlone, err error) {
	w := uploads()
	if err := s.reset(ctx); err != nil {
		return alone, err
	}
	report, err := s.enqueueBacklog(ctx, w, points, saturation)
	if err != nil {
		return alone, err
	}
	if err := s.runServer(ctx, "worker", func(ctx context.Context, _ *server) error {
		commits, err := s.waitForRows(ctx, w.table, points)
		if err != nil {
			return err
		}
		alone.drained = rate(commits, points)
		return s.verify(ctx, report)
	}); err != nil {
		return alone, err
	}
	alone.copyFrom, err = s.measureBaseline(ctx, w, points, copyRows)
	return alone, err
}
