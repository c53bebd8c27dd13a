package main

import (
	"context"
	"fmt"

	"tracklane/internal/redisinfo"
)

// memory is what waiting points cost, in bytes.
type memory struct {
	// A point in Redis: in uploads of 1,000, and one a request from many
	// connections and from one.
	uploads, many, one float64

	// Resident: an API that took waitingPoints which all wait, and the peak of a
	// process that starts with them and serves and writes.
	api, serve int64
}

const (
	waitingPoints    = 1_000_000
	storedPoints     = 200_000 // for the memory of a point in Redis
	sequentialPoints = 20_000  // each of which waits for the one before
)

func measureMemory(ctx context.Context, s *system) (m memory, err error) {
	for _, measured := range []struct {
		value               *float64
		w                   workload
		points, connections int
	}{
		{&m.uploads, uploads(), storedPoints, saturation},
		{&m.many, singlePoints(), storedPoints, saturation},
		{&m.one, singlePoints(), sequentialPoints, 1},
	} {
		if err := s.reset(ctx); err != nil {
			return m, err
		}
		before, err := s.redisMemory(ctx)
		if err != nil {
			return m, err
		}
		if _, err := s.enqueueBacklog(ctx, measured.w, measured.points, measured.connections); err != nil {
			return m, err
		}
		// The API is gone, and so are the buffers of its connections.
		after, err := s.redisMemory(ctx)
		if err != nil {
			return m, err
		}
		*measured.value = float64(after-before) / float64(measured.points)
	}
	m.api, m.serve, err = s.measureResident(ctx)
	return m, err
}

func (s *system) measureResident(ctx context.Context) (api, serve int64, err error) {
	w := uploads()
	if err := s.reset(ctx); err != nil {
		return 0, 0, err
	}
	if err := s.runServer(ctx, "api", func(ctx context.Context, p *server) error {
		_, err := s.enqueue(ctx, p, w, waitingPoints, saturation)
		api = processMemory(p.PID(), "status", "VmHWM:")
		return err
	}); err != nil {
		return 0, 0, err
	}
	err = s.runServer(ctx, "serve", func(ctx context.Context, p *server) error {
		_, err := s.waitForRows(ctx, w.table, waitingPoints)
		serve = processMemory(p.PID(), "status", "VmHWM:")
		return err
	})
	return api, serve, err
}

// redisMemory is what Redis says it uses, in bytes.
func (s *system) redisMemory(ctx context.Context) (int64, error) {
	text, err := s.queue.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis for its memory: %w", err)
	}
	return redisinfo.Parse(text).Int("used_memory")
}
