package handlers

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/store"
)

// The states of an installation.
const (
	healthy   = "healthy"
	degraded  = "degraded"
	unhealthy = "unhealthy"
)

// checkTimeout bounds each look at a dependency, so that /health answers
// within a second whatever is down.
const checkTimeout = 800 * time.Millisecond

// maxWait is how long a point may wait before /health complains.
const maxWait = time.Minute

type health struct {
	Status   string                 `json:"status"`
	Reasons  []string               `json:"reasons"`
	Database databaseHealth         `json:"database"`
	Redis    redisHealth            `json:"redis"`
	Queues   map[string]queueHealth `json:"queues"`
	Version  string                 `json:"version"`
	Uptime   float64                `json:"uptime_seconds"`
}

type databaseHealth struct {
	Connected   bool    `json:"connected"`
	Latency     float64 `json:"latency_ms"`
	TimescaleDB bool    `json:"timescaledb"`
	status      store.DatabaseStatus
}

type redisHealth struct {
	Connected bool    `json:"connected"`
	Latency   float64 `json:"latency_ms"`
}

type queueHealth struct {
	Pending   int `json:"pending"`
	Processed int `json:"processed"`
	Failed    int `json:"failed"`
}

// getHealth answers 200 while points can be taken, 503 when they cannot.
func (s *Server) getHealth(c *gin.Context) {
	answer := s.health(s.look(c.Request.Context()))
	code := http.StatusOK
	if answer.Status == unhealthy {
		code = http.StatusServiceUnavailable
	}
	c.JSON(code, answer)
}

// getReady answers 200 exactly when a point posted now would be taken: by
// Redis or by the database.
func (s *Server) getReady(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), checkTimeout)
	defer cancel()
	redis := make(chan bool, 1)
	go func() { redis <- s.Inspector.Writable(ctx) }()
	if !s.checkDatabase(ctx).status.Writable && !<-redis {
		unavailable().send(c, nil)
		return
	}
	c.String(http.StatusOK, "ready\n")
}

// getLive answers as long as the process does.
func (s *Server) getLive(c *gin.Context) { c.String(http.StatusOK, "alive\n") }

func (s *Server) health(o observation) health {
	answer := health{
		Status: healthy, Reasons: s.reasons(o),
		Database: o.database,
		Redis:    redisHealth{Connected: o.redis.Connected, Latency: milliseconds(o.redis.Latency)},
		Queues:   make(map[string]queueHealth, len(s.Lanes)),
		Version:  s.Version,
		Uptime:   time.Since(s.started).Seconds(),
	}
	for _, l := range s.Lanes {
		info := o.queues[l.Name]
		answer.Queues[l.Name] = queueHealth{
			// What waits to be joined is not asynq's "pending", but to an
			// operator it is.
			Pending:   info.Pending + info.Aggregating,
			Processed: info.Processed, Failed: info.Failed,
		}
	}
	switch {
	case !o.database.Connected && !o.redis.Connected:
		answer.Status = unhealthy
	case len(answer.Reasons) > 0:
		answer.Status = degraded
	}
	return answer
}

// reasons says in words what is not as it should be.
func (s *Server) reasons(o observation) []string {
	reasons := []string{}
	add := func(format string, values ...any) {
		reasons = append(reasons, fmt.Sprintf(format, values...))
	}
	switch {
	case !o.database.Connected && !o.redis.Connected:
		add("Redis and the database are both down: points are refused with 503.")
	case !o.redis.Connected:
		add("Redis is down: points go straight to the database.")
	case !o.database.Connected:
		add("The database is down: points wait in Redis.")
	}
	if o.redis.Connected {
		if policy := o.redis.MaxMemoryPolicy; policy != "" && policy != "noeviction" {
			add("Redis may drop queued points: its maxmemory-policy is %s, set it to noeviction.", policy)
		}
		if !o.redis.AppendOnly {
			add("Redis keeps queued points in memory only: set appendonly to yes.")
		}
		if len(o.processors) == 0 {
			add("No worker is alive: points wait in Redis.")
		}
	}
	for i, l := range s.Lanes {
		if archived := o.queues[l.Name].Archived; archived > 0 {
			add("The queue %s has %d archived tasks: run them from asynqmon, or look at 'tracklane rejected list'.", l.Name, archived)
		}
		if oldest := o.waiting[i].OldestAge; oldest > maxWait {
			add("A point in the queue %s has waited for %s.", l.Name, oldest.Round(time.Second))
		}
		if o.queues[l.Name].Paused {
			add("The queue %s is paused.", l.Name)
		}
	}
	if o.database.Connected && !o.database.TimescaleDB {
		add("TimescaleDB is not installed in the database: the tables are plain ones.")
	}
	if o.database.status.Rejected {
		add("The database refused points: look at 'tracklane rejected list'.")
	}
	return reasons
}

// checkDatabase asks the database whether it is there.
func (s *Server) checkDatabase(ctx context.Context) databaseHealth {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	begun := time.Now()
	status, err := s.Database.Check(ctx)
	if err != nil {
		return databaseHealth{}
	}
	return databaseHealth{
		Connected: true, Latency: milliseconds(time.Since(begun)),
		TimescaleDB: status.TimescaleDB, status: status,
	}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
