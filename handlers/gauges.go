package handlers

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges reads, when Prometheus asks, what is not counted but looked up.
type gauges struct {
	server *Server

	queueTasks, waitingPoints, oldest, paused      *prometheus.Desc
	workers, redisUp, redisUsed, redisMax, breaker *prometheus.Desc
	databaseUp, connections, acquireWait           *prometheus.Desc
}

func newGauges(s *Server) *gauges {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tracklane_"+name, help, labels, nil)
	}
	return &gauges{
		server:        s,
		queueTasks:    describe("queue_tasks", "Tasks in the queue.", "lane", "state"),
		waitingPoints: describe("queue_waiting_points", "Points in the queue, estimated from its oldest tasks.", "lane"),
		oldest:        describe("queue_oldest_seconds", "How long the oldest point in the queue has waited.", "lane"),
		paused:        describe("queue_paused", "1 while an operator has paused the queue.", "lane"),
		workers:       describe("workers", "Worker processes that are alive."),
		redisUp:       describe("redis_up", "1 while Redis answers."),
		redisUsed:     describe("redis_used_memory_bytes", "Memory that Redis uses."),
		redisMax:      describe("redis_max_memory_bytes", "Memory that Redis may use; 0 is no limit."),
		breaker:       describe("redis_breaker_open", "1 while this process sends points past Redis."),
		databaseUp:    describe("database_up", "1 while the database answers."),
		connections:   describe("database_connections", "Connections of this process's pool; max is how many it may have.", "state"),
		acquireWait:   describe("database_acquire_wait_seconds_total", "Time spent waiting for a connection of the pool."),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		g.queueTasks, g.waitingPoints, g.oldest, g.paused, g.workers, g.redisUp, g.redisUsed, g.redisMax,
		g.breaker, g.databaseUp, g.connections, g.acquireWait,
	} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(collected chan<- prometheus.Metric) {
	o := g.server.look(context.Background())
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for i, l := range g.server.Lanes {
		info := o.queues[l.Name]
		for state, tasks := range map[string]int{
			"pending": info.Pending, "active": info.Active, "aggregating": info.Aggregating,
			"scheduled": info.Scheduled, "retry": info.Retry, "archived": info.Archived,
		} {
			gauge(g.queueTasks, float64(tasks), l.Name, state)
		}
		gauge(g.waitingPoints, float64(o.waiting[i].Points), l.Name)
		gauge(g.oldest, o.waiting[i].OldestAge.Seconds(), l.Name)
		gauge(g.paused, oneIf(info.Paused), l.Name)
	}
	gauge(g.workers, float64(len(o.processors)))
	gauge(g.redisUp, oneIf(o.redis.Connected))
	gauge(g.redisUsed, float64(o.redis.UsedMemory))
	gauge(g.redisMax, float64(o.redis.MaxMemory))
	gauge(g.breaker, oneIf(g.server.Enqueuer != nil && !g.server.Enqueuer.Available()))
	gauge(g.databaseUp, oneIf(o.database.Connected))

	pool := g.server.Database.Stat()
	gauge(g.connections, float64(pool.AcquiredConns()), "acquired")
	gauge(g.connections, float64(pool.IdleConns()), "idle")
	gauge(g.connections, float64(pool.MaxConns()), "max")
	collected <- prometheus.MustNewConstMetric(g.acquireWait, prometheus.CounterValue, pool.AcquireDuration().Seconds())
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}
