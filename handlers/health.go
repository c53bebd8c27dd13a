package handlers

import (
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/status"
)

// The shape of /health.
type (
	healthResponse struct {
		Status   status.State           `json:"status"`
		Reasons  []string               `json:"reasons"`
		Notes    []string               `json:"notes"`
		Database databaseHealth         `json:"database"`
		Redis    redisHealth            `json:"redis"`
		Queues   map[string]queueHealth `json:"queues"`
		Version  string                 `json:"version"`
		Uptime   float64                `json:"uptime_seconds"`
	}

	databaseHealth struct {
		Connected   bool    `json:"connected"`
		LatencyMS   float64 `json:"latency_ms"`
		TimescaleDB bool    `json:"timescaledb"`
	}

	redisHealth struct {
		Connected bool    `json:"connected"`
		LatencyMS float64 `json:"latency_ms"`
	}

	queueHealth struct {
		Pending   int `json:"pending"`
		Processed int `json:"processed"`
		Failed    int `json:"failed"`
	}
)

// getHealth responds with 200 while points can be accepted, else with 503. Who is
// no operator sees the status alone.
func (s *Server) getHealth(c *gin.Context) {
	_, _, given := c.Request.BasicAuth()
	isOperator := given || s.config.Access.Operator == nil
	if isOperator {
		if problem := s.checkOperator(c); problem != nil {
			problem.write(c, nil)
			return
		}
	}
	snapshot, err := s.config.Status.Snapshot(c.Request.Context())
	if err != nil {
		c.Abort() // the client has gone
		return
	}
	response := newHealthResponse(snapshot)
	code := http.StatusOK
	if response.Status == status.Unhealthy {
		code = http.StatusServiceUnavailable
	}
	if !isOperator {
		c.JSON(code, gin.H{"status": response.Status})
		return
	}
	c.JSON(code, response)
}

// Stop makes /readyz say from now on that nothing is to be sent here any more.
// Requests of clients are still handled, each as the last one of its connection.
func (s *Server) Stop() { s.stopping.Store(true) }

// watchTime is within which /readyz has been 200 twice for a load balancer that asks
// often enough to hear of the end in time. Who waits for a start asks no more after
// the first time.
const watchTime = 5 * time.Second

// Watched reports whether something asks /readyz all the time and sends requests here
// for what that says.
func (s *Server) Watched() bool { return s.probes.watched(time.Now()) }

// probes are the times at which /readyz was 200 last, the newest first.
type probes struct {
	mu   sync.Mutex
	last [2]time.Time
}

func (p *probes) note(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[0], p.last[1] = now, p.last[0]
}

// watched reports whether both were within watchTime before now.
func (p *probes) watched(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.last[1]) <= watchTime
}

// getReady responds with 200 exactly when a point posted now would be accepted:
// by Redis or by the database. When the process stops, it is 503 before that.
func (s *Server) getReady(c *gin.Context) {
	if s.stopping.Load() || !s.config.Status.Ready(c.Request.Context()) {
		unavailable().write(c, nil)
		return
	}
	s.probes.note(time.Now())
	c.String(http.StatusOK, "ready\n")
}

// getLive responds as long as the process runs.
func (s *Server) getLive(c *gin.Context) { c.String(http.StatusOK, "alive\n") }

func newHealthResponse(s status.Snapshot) healthResponse {
	response := healthResponse{
		Status: s.State(), Reasons: s.Reasons(), Notes: s.Notes(),
		Database: databaseHealth{
			Connected: s.Database.Connected, LatencyMS: milliseconds(s.Database.Latency),
			TimescaleDB: s.Database.TimescaleDB,
		},
		Redis:   redisHealth{Connected: s.Redis.Connected, LatencyMS: milliseconds(s.Redis.Latency)},
		Queues:  make(map[string]queueHealth, len(s.Lanes)),
		Version: s.Version,
		Uptime:  s.Uptime.Seconds(),
	}
	for _, l := range s.Lanes {
		response.Queues[l.Name] = queueHealth{
			// asynq's "pending" leaves out the tasks that wait to be aggregated;
			// to an operator both wait.
			Pending:   l.Queue.Pending + l.Queue.Aggregating,
			Processed: l.Queue.Processed, Failed: l.Queue.Failed,
		}
	}
	return response
}
