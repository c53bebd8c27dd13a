package handlers

import (
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/metrics"
)

type queueStatus struct {
	Redis       redisStatus                   `json:"redis"`
	Queues      map[string]queueState         `json:"queues"`
	Processors  []processor                   `json:"processors"`
	Performance map[string]performanceFigures `json:"performance"`
	Timestamp   time.Time                     `json:"timestamp"`
}

type redisStatus struct {
	Connected       bool    `json:"connected"`
	Version         string  `json:"version"`
	UsedMemory      int64   `json:"used_memory_bytes"`
	MaxMemory       int64   `json:"maxmemory_bytes"`
	MaxMemoryPolicy string  `json:"maxmemory_policy"`
	Latency         float64 `json:"latency_ms"`
}

type queueState struct {
	Priority    int     `json:"priority"`
	Weight      int     `json:"weight"`
	Pending     int     `json:"pending"`
	Active      int     `json:"active"`
	Aggregating int     `json:"aggregating"`
	Scheduled   int     `json:"scheduled"`
	Retry       int     `json:"retry"`
	Archived    int     `json:"archived"`
	Processed   int     `json:"processed"`
	Failed      int     `json:"failed"`
	Paused      bool    `json:"paused"`
	Latency     float64 `json:"latency_seconds"`
	Memory      int64   `json:"memory_bytes"`
}

type processor struct {
	ID          string         `json:"id"`
	Host        string         `json:"host"`
	PID         int            `json:"pid"`
	Concurrency int            `json:"concurrency"`
	Queues      map[string]int `json:"queues"`
	StartedAt   time.Time      `json:"started_at"`
	Status      string         `json:"status"`
	Active      int            `json:"active"`
}

type performanceFigures struct {
	PointsWritten   int         `json:"points_written"`
	Duplicates      int         `json:"duplicates"`
	Batches         int         `json:"batches"`
	PointsPerBatch  float64     `json:"points_per_batch"`
	PointsPerSecond float64     `json:"points_per_second"`
	Write           percentiles `json:"write_ms"`
	EndToEnd        percentiles `json:"end_to_end_ms"`
}

type percentiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// getQueueStatus answers what asynq and the worker processes tell through
// Redis; 503 with the same shape when Redis is down.
func (s *Server) getQueueStatus(c *gin.Context) {
	o := s.look(c.Request.Context())
	code := http.StatusOK
	if !o.redis.Connected {
		code = http.StatusServiceUnavailable
	}
	c.JSON(code, s.queueStatus(o))
}

func (s *Server) queueStatus(o observation) queueStatus {
	answer := queueStatus{
		Redis: redisStatus{
			Connected: o.redis.Connected, Version: o.redis.Version,
			UsedMemory: o.redis.UsedMemory, MaxMemory: o.redis.MaxMemory,
			MaxMemoryPolicy: o.redis.MaxMemoryPolicy, Latency: milliseconds(o.redis.Latency),
		},
		Queues:      make(map[string]queueState, len(s.Lanes)),
		Processors:  []processor{},
		Performance: make(map[string]performanceFigures, len(s.Lanes)),
		Timestamp:   o.at.UTC(),
	}
	for _, l := range s.Lanes {
		info := o.queues[l.Name]
		answer.Queues[l.Name] = queueState{
			Priority: l.Priority, Weight: s.Weights[l.Name],
			Pending: info.Pending, Active: info.Active, Aggregating: info.Aggregating,
			Scheduled: info.Scheduled, Retry: info.Retry, Archived: info.Archived,
			Processed: info.Processed, Failed: info.Failed,
			Paused: info.Paused, Latency: info.Latency.Seconds(), Memory: info.MemoryUsage,
		}
		answer.Performance[l.Name] = performanceOf(o.figures[l.Name])
	}
	for _, p := range o.processors {
		answer.Processors = append(answer.Processors, processor{
			ID: p.ID, Host: p.Host, PID: p.PID, Concurrency: p.Concurrency, Queues: p.Queues,
			StartedAt: p.StartedAt.UTC(), Status: p.Status, Active: p.Active,
		})
	}
	return answer
}

func performanceOf(f metrics.Stats) performanceFigures {
	return performanceFigures{
		PointsWritten: f.PointsWritten, Duplicates: f.Duplicates, Batches: f.Batches,
		PointsPerBatch:  pointsPerBatch(f),
		PointsPerSecond: f.WrittenPerSecond,
		Write:           percentilesOf(f.Write),
		EndToEnd:        percentilesOf(f.EndToEnd),
	}
}

func pointsPerBatch(f metrics.Stats) float64 {
	return math.Round(f.PointsPerBatch()*10) / 10
}

func percentilesOf(h metrics.Histogram) percentiles {
	return percentiles{P50: milliseconds(h.Quantile(.5)), P95: milliseconds(h.Quantile(.95)), P99: milliseconds(h.Quantile(.99))}
}
