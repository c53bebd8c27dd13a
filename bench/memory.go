package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tracklane/load"
)

// memory is what waiting points cost, in bytes.
type memory struct {
	batched, single float64 // of Redis, a point: in uploads of 1,000, and one by one
	resident        int64   // of a serving process with a million points waiting
}

func measureMemory(ctx context.Context, s *system) (m memory, err error) {
	for _, measured := range []struct {
		figure *float64
		w      workload
		points int
	}{{&m.batched, cases()[3], 1_000_000}, {&m.single, cases()[0], 100_000}} {
		if err := s.queue.FlushAll(ctx).Err(); err != nil {
			return m, fmt.Errorf("empty Redis: %w", err)
		}
		before, err := s.usedMemory(ctx)
		if err != nil {
			return m, err
		}
		api, err := s.start(ctx, "api")
		if err != nil {
			return m, err
		}
		_, err = s.send(ctx, api, load.Options{
			Lane: measured.w.lane, PointsPerRequest: measured.w.points, Requests: measured.points / measured.w.points,
		})
		after, usedErr := s.usedMemory(ctx)
		if m.resident == 0 {
			m.resident = api.resident()
		}
		for _, each := range []error{usedErr, api.stop()} {
			if err == nil {
				err = each
			}
		}
		if err != nil {
			return m, err
		}
		*measured.figure = float64(after-before) / float64(measured.points)
	}
	return m, s.queue.FlushAll(ctx).Err()
}

// usedMemory is what Redis says it uses, in bytes.
func (s *system) usedMemory(ctx context.Context) (int64, error) {
	text, err := s.queue.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis for its memory: %w", err)
	}
	_, rest, _ := strings.Cut(text, "used_memory:")
	number, _, _ := strings.Cut(rest, "\r\n")
	used, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read Redis's memory: %w", err)
	}
	return used, nil
}

// backlog is how fast the queues are drained, in points a second.
type backlog struct {
	points      int
	first, last float64 // a fifth of the points, with all waiting and with none left behind it
	resident    int64   // of the worker
}

// measureBacklog drains a long queue and compares its beginning with its end.
func measureBacklog(ctx context.Context, s *system, points int) (b backlog, err error) {
	b.points = points
	w := cases()[3]
	if err := s.empty(ctx); err != nil {
		return b, err
	}
	if err := s.fill(ctx, w, points); err != nil {
		return b, err
	}
	worker, err := s.start(ctx, "worker")
	if err != nil {
		return b, err
	}
	defer func() {
		if stopErr := worker.stop(); err == nil {
			err = stopErr
		}
	}()
	fifth := points / 5
	begun := time.Now()
	if _, err := s.waitForRows(ctx, w.table, fifth); err != nil {
		return b, err
	}
	b.first = float64(fifth) / time.Since(begun).Seconds()
	if _, err := s.waitForRows(ctx, w.table, 4*fifth); err != nil {
		return b, err
	}
	begun = time.Now()
	if _, err := s.waitForRows(ctx, w.table, points); err != nil {
		return b, err
	}
	b.last = float64(points-4*fifth) / time.Since(begun).Seconds()
	b.resident = worker.resident()
	return b, nil
}
