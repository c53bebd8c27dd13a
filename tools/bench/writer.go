package main

import "context"

// writerAlone is a worker that finds every point in Redis, beside CopyFrom, in
// points a second.
type writerAlone struct{ drained, copyFrom float64 }

func measureWriter(ctx context.Context, s *system, points int) (alone writerAlone, err error) {
	w := uploads()
	if err := s.empty(ctx); err != nil {
		return alone, err
	}
	if err := s.fill(ctx, w, points, saturation); err != nil {
		return alone, err
	}
	if err := s.with(ctx, "worker", func(ctx context.Context, _ *process) error {
		commits, err := s.waitForRows(ctx, w.table, points)
		if err != nil {
			return err
		}
		alone.drained = pace(commits, points)
		return s.verify(ctx, w.table, points)
	}); err != nil {
		return alone, err
	}
	alone.copyFrom, err = s.measureCeiling(ctx, w, points, copyRows)
	return alone, err
}
