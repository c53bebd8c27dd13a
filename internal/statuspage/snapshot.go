package statuspage

import (
	"context"
	"time"

	"tracklane/internal/status"
)

// Source returns the present snapshot of the installation. It is never called
// twice at the same time, and should return within a second; ctx ends after
// two. What it does not know it leaves at zero and names in Reasons. After an
// error, open pages keep what they show.
type Source func(ctx context.Context) (Snapshot, error)

// Snapshot is what the page shows of one moment. No float in it may be
// infinite or not a number.
type Snapshot struct {
	At            time.Time    `json:"at"`
	Version       string       `json:"version"`
	UptimeSeconds float64      `json:"uptime_seconds"`
	Status        status.State `json:"status"`

	// Reasons says in whole sentences why Status is not status.Healthy.
	Reasons []string `json:"reasons"`

	// Distress says in a line each who is in distress, oldest first.
	Distress []string `json:"distress"`

	Database Database `json:"database"`
	Redis    Redis    `json:"redis"`

	// Direct reports whether points bypass Redis and go directly into the
	// database.
	Direct bool `json:"direct"`

	// Lanes are shown in this order; it stays the same from one snapshot to
	// the next.
	Lanes []Lane `json:"lanes"`

	// Workers are the worker processes that are alive.
	Workers []Worker `json:"workers"`
}

// Database is the state of PostgreSQL.
type Database struct {
	Connected   bool    `json:"connected"`
	LatencyMS   float64 `json:"latency_ms"`
	TimescaleDB bool    `json:"timescaledb"`
}

// Redis is the state of Redis.
type Redis struct {
	Connected       bool    `json:"connected"`
	Version         string  `json:"version"`
	UsedMemoryBytes int64   `json:"used_memory_bytes"`
	MaxMemoryBytes  int64   `json:"maxmemory_bytes"` // 0 when it has no limit
	LatencyMS       float64 `json:"latency_ms"`
}

// Lane is one pipeline: endpoint, queue, table. What waits, and the numbers of
// tasks, are zero while Redis is not connected.
type Lane struct {
	Name     string `json:"name"`
	Priority int    `json:"priority"`
	Weight   int    `json:"weight"`
	Table    string `json:"table"`
	Paused   bool   `json:"paused"`

	InPerSecond  float64 `json:"in_per_second"`  // points accepted
	OutPerSecond float64 `json:"out_per_second"` // points written

	Waiting              int     `json:"waiting"` // points
	OldestWaitingSeconds float64 `json:"oldest_waiting_seconds"`

	Aggregating int `json:"aggregating"` // tasks, as are the next four
	Pending     int `json:"pending"`
	Active      int `json:"active"`
	Retry       int `json:"retry"`
	Archived    int `json:"archived"`

	PointsPerBatch float64 `json:"points_per_batch"`
	WriteP95MS     float64 `json:"write_p95_ms"`
	EndToEndP95MS  float64 `json:"end_to_end_p95_ms"`

	Written    int `json:"written_total"`    // points new in the table
	Duplicates int `json:"duplicates_total"` // points that were in the table already
	Errors     int `json:"errors_total"`     // writes that failed
}

// Worker is one process that writes batches.
type Worker struct {
	Host        string    `json:"host"`
	PID         int       `json:"pid"`
	Concurrency int       `json:"concurrency"` // the most batches it writes at the same time
	Active      int       `json:"active"`      // the batches that it writes now
	StartedAt   time.Time `json:"started_at"`
}
