package status

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// exporter makes metrics of a snapshot each time that Prometheus scrapes.
type exporter struct {
	collector *Collector

	queueTasks, waitingPoints, oldest, paused      *prometheus.Desc
	workers, redisUp, redisUsed, redisMax, breaker *prometheus.Desc
	databaseUp, connections, acquireWait           *prometheus.Desc
}

// NewExporter returns a Prometheus collector of what c's snapshots hold, for
// the caller to register.
func NewExporter(c *Collector) prometheus.Collector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tracklane_"+name, help, labels, nil)
	}
	return &exporter{
		collector:     c,
		queueTasks:    describe("queue_tasks", "Tasks in the queue.", "lane", "state"),
		waitingPoints: describe("queue_waiting_points", "Points in the queue.", "lane"),
		oldest:        describe("queue_oldest_seconds", "How long the oldest point in the queue has waited.", "lane"),
		paused:        describe("queue_paused", "1 while an operator has paused the queue.", "lane"),
		workers:       describe("workers", "Worker processes that are alive."),
		redisUp:       describe("redis_up", "1 while Redis responds."),
		redisUsed:     describe("redis_used_memory_bytes", "Memory that Redis uses."),
		redisMax:      describe("redis_max_memory_bytes", "Memory that Redis may use; 0 is no limit."),
		breaker:       describe("redis_breaker_open", "1 while this process writes points bypassing Redis."),
		databaseUp:    describe("database_up", "1 while the database responds."),
		connections:   describe("database_connections", "Connections of this process's pool; max is how many it may have.", "state"),
		acquireWait:   describe("database_acquire_wait_seconds_total", "Time spent waiting for a connection of the pool."),
	}
}

// Describe implements prometheus.Collector.
func (e *exporter) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		e.queueTasks, e.waitingPoints, e.oldest, e.paused, e.workers, e.redisUp, e.redisUsed, e.redisMax,
		e.breaker, e.databaseUp, e.connections, e.acquireWait,
	} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (e *exporter) Collect(collected chan<- prometheus.Metric) {
	// Prometheus passes no context, and a collection bounds itself: there is no
	// error.
	s, _ := e.collector.Snapshot(context.Background())
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, l := range s.Lanes {
		for state, tasks := range map[string]int{
			"pending": l.Queue.Pending, "active": l.Queue.Active, "aggregating": l.Queue.Aggregating,
			"scheduled": l.Queue.Scheduled, "retry": l.Queue.Retry, "archived": l.Queue.Archived,
		} {
			gauge(e.queueTasks, float64(tasks), l.Name, state)
		}
		gauge(e.waitingPoints, float64(l.Backlog.Points), l.Name)
		gauge(e.oldest, l.Backlog.OldestAge.Seconds(), l.Name)
		gauge(e.paused, boolToFloat(l.Queue.Paused), l.Name)
	}
	gauge(e.workers, float64(len(s.Workers)))
	gauge(e.redisUp, boolToFloat(s.Redis.Connected))
	gauge(e.redisUsed, float64(s.Redis.UsedMemory))
	gauge(e.redisMax, float64(s.Redis.MaxMemory))
	gauge(e.breaker, boolToFloat(s.BypassesRedis))
	gauge(e.databaseUp, boolToFloat(s.Database.Connected))

	pool := s.Database.Pool
	gauge(e.connections, float64(pool.Acquired), "acquired")
	gauge(e.connections, float64(pool.Idle), "idle")
	gauge(e.connections, float64(pool.Max), "max")
	collected <- prometheus.MustNewConstMetric(e.acquireWait, prometheus.CounterValue, pool.AcquireWait.Seconds())
}

func boolToFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
