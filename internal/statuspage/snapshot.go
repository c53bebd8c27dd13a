package statuspage

import (
	"context"
	"time"
)

// Source takes a snapshot of the installation. It is never called twice at the
// same time. It should answer within a second; ctx ends after two. What it
// could not find out it leaves at zero, and says so in Reasons.
type Source func(ctx context.Context) Snapshot

// Status is an installation's state in one word.
type Status string

// The states of an installation.
const (
	Healthy   Status = "healthy"
	Degraded  Status = "degraded"  // points are taken, but something is not as it should be
	Unhealthy Status = "unhealthy" // points are refused
)

// Snapshot is what the page shows of one moment. No float in it may be
// infinite or not a number.
type Snapshot struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Uptime  float64   `json:"uptime_seconds"`
	Status  Status    `json:"status"`

	// Reasons says in whole sentences why Status is not Healthy.
	Reasons []string `json:"reasons"`

	Database Database `json:"database"`
	Redis    Redis    `json:"redis"`

	// Direct is whether points go past Redis, straight into the database.
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
	Latency     float64 `json:"latency_ms"`
	TimescaleDB bool    `json:"timescaledb"`
}

// Redis is the state of Redis.
type Redis struct {
	Connected  bool    `json:"connected"`
	Version    string  `json:"version"`
	UsedMemory int64   `json:"used_memory_bytes"`
	MaxMemory  int64   `json:"maxmemory_bytes"` // 0 when it has no limit
	Latency    float64 `json:"latency_ms"`
}

// Lane is one road from an endpoint through a queue to a table. What waits,
// and the counts of tasks, mean something only while Redis is connected.
type Lane struct {
	Name     string `json:"name"`
	Priority int    `json:"priority"`
	Weight   int    `json:"weight"`
	Table    string `json:"table"`
	Paused   bool   `json:"paused"`

	InPerSecond  float64 `json:"in_per_second"`  // points accepted
	OutPerSecond float64 `json:"out_per_second"` // points written

	Waiting       int     `json:"waiting"` // points
	OldestWaiting float64 `json:"oldest_waiting_seconds"`

	Aggregating int `json:"aggregating"` // tasks, as are the next four
	Pending     int `json:"pending"`
	Active      int `json:"active"`
	Retry       int `json:"retry"`
	Archived    int `json:"archived"`

	PointsPerBatch float64 `json:"points_per_batch"`
	WriteP95       float64 `json:"write_p95_ms"`
	EndToEndP95    float64 `json:"end_to_end_p95_ms"`

	Written    int `json:"written_total"`    // points new in the table
	Duplicates int `json:"duplicates_total"` // points that the table held already
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
