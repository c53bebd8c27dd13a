package handlers

import (
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/metrics"
	"tracklane/internal/status"
)

// The shape of /queue/status.
type (
	queueStatusResponse struct {
		Redis       redisStatus                `json:"redis"`
		Queues      map[string]queueState      `json:"queues"`
		Processors  []processor                `json:"processors"`
		Performance map[string]lanePerformance `json:"performance"`
		Timestamp   time.Time                  `json:"timestamp"`
	}

	redisStatus struct {
		Connected       bool    `json:"connected"`
		Version         string  `json:"version"`
		UsedMemoryBytes int64   `json:"used_memory_bytes"`
		MaxMemoryBytes  int64   `json:"maxmemory_bytes"`
		MaxMemoryPolicy string  `json:"maxmemory_policy"`
		LatencyMS       float64 `json:"latency_ms"`
	}

	queueState struct {
		Priority       int     `json:"priority"`
		Weight         int     `json:"weight"`
		Pending        int     `json:"pending"`
		Active         int     `json:"active"`
		Aggregating    int     `json:"aggregating"`
		Scheduled      int     `json:"scheduled"`
		Retry          int     `json:"retry"`
		Archived       int     `json:"archived"`
		Processed      int     `json:"processed"`
		Failed         int     `json:"failed"`
		Paused         bool    `json:"paused"`
		LatencySeconds float64 `json:"latency_seconds"`
		MemoryBytes    int64   `json:"memory_bytes"`
	}

	processor struct {
		ID          string         `json:"id"`
		Host        string         `json:"host"`
		PID         int            `json:"pid"`
		Concurrency int            `json:"concurrency"`
		Queues      map[string]int `json:"queues"`
		StartedAt   time.Time      `json:"started_at"`
		Status      string         `json:"status"`
		Active      int            `json:"active"`
	}

	lanePerformance struct {
		PointsWritten   int         `json:"points_written"`
		Duplicates      int         `json:"duplicates"`
		Batches         int         `json:"batches"`
		PointsPerBatch  float64     `json:"points_per_batch"`
		PointsPerSecond float64     `json:"points_per_second"`
		WriteMS         percentiles `json:"write_ms"`
		EndToEndMS      percentiles `json:"end_to_end_ms"`
	}

	percentiles struct {
		P50 float64 `json:"p50"`
		P95 float64 `json:"p95"`
		P99 float64 `json:"p99"`
	}
)

// getQueueStatus responds with what asynq and the worker processes report
// through Redis; with 503 and the same shape while Redis is down.
func (s *Server) getQueueStatus(c *gin.Context) {
	snapshot, err := s.config.Status.Snapshot(c.Request.Context())
	if err != nil {
		c.Abort() // the client has gone
		return
	}
	code := http.StatusOK
	if !snapshot.Redis.Connected {
		code = http.StatusServiceUnavailable
	}
	c.JSON(code, newQueueStatusResponse(snapshot))
}

func newQueueStatusResponse(s status.Snapshot) queueStatusResponse {
	response := queueStatusResponse{
		Redis: redisStatus{
			Connected: s.Redis.Connected, Version: s.Redis.Version,
			UsedMemoryBytes: s.Redis.UsedMemory, MaxMemoryBytes: s.Redis.MaxMemory,
			MaxMemoryPolicy: s.Redis.MaxMemoryPolicy, LatencyMS: milliseconds(s.Redis.Latency),
		},
		Queues:      make(map[string]queueState, len(s.Lanes)),
		Processors:  []processor{},
		Performance: make(map[string]lanePerformance, len(s.Lanes)),
		Timestamp:   s.At.UTC(),
	}
	for _, l := range s.Lanes {
		q := l.Queue
		response.Queues[l.Name] = queueState{
			Priority: l.Priority, Weight: l.Weight,
			Pending: q.Pending, Active: q.Active, Aggregating: q.Aggregating,
			Scheduled: q.Scheduled, Retry: q.Retry, Archived: q.Archived,
			Processed: q.Processed, Failed: q.Failed,
			Paused: q.Paused, LatencySeconds: q.Latency.Seconds(), MemoryBytes: q.MemoryUsage,
		}
		response.Performance[l.Name] = newLanePerformance(l.Stats)
	}
	for _, w := range s.Workers {
		response.Processors = append(response.Processors, processor{
			ID: w.ID, Host: w.Host, PID: w.PID, Concurrency: w.Concurrency, Queues: w.Queues,
			StartedAt: w.StartedAt.UTC(), Status: w.Status, Active: w.Active,
		})
	}
	return response
}

func newLanePerformance(stats metrics.Stats) lanePerformance {
	return lanePerformance{
		PointsWritten: stats.PointsWritten, Duplicates: stats.Duplicates, Batches: stats.Batches,
		PointsPerBatch:  roundToTenths(stats.PointsPerBatch()),
		PointsPerSecond: stats.WrittenPerSecond,
		WriteMS:         newPercentiles(stats.Write),
		EndToEndMS:      newPercentiles(stats.EndToEnd),
	}
}

func newPercentiles(h metrics.Histogram) percentiles {
	return percentiles{
		P50: milliseconds(h.Quantile(.5)), P95: milliseconds(h.Quantile(.95)), P99: milliseconds(h.Quantile(.99)),
	}
}

func roundToTenths(x float64) float64 { return math.Round(x*10) / 10 }

// milliseconds is what JSON has of a duration, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
