package app

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"tracklane/asynqmon"
	"tracklane/handlers"
	"tracklane/internal/lane"
	"tracklane/internal/livestream"
	"tracklane/internal/mappage"
	"tracklane/internal/metrics"
	"tracklane/internal/session"
	"tracklane/internal/status"
	"tracklane/store"
	"tracklane/tasks"
)

// startParts starts all parts but the HTTP servers, and returns the handlers that
// they are to serve.
func (p *Program) startParts(r *run) *handlers.Server {
	if p.config.DebugAddr != "" {
		r.parts.Go(func() { p.serveDebug(r.background) })
	}
	migrated := p.startMigration(r)
	recorder := metrics.New(p.lanes, p.version)
	r.parts.Go(func() { recorder.Publish(r.background, p.connections.Inspect, processID()) })
	publisher := livestream.NewPublisher(p.connections.Inspect, p.liveChannel())
	r.parts.Go(func() { publisher.Run(r.background) })
	writer := store.NewWriter(p.pool, p.lanes, p.config.BatchMaxPoints, observeWrites(recorder, publisher, p.logger))
	monitor := tasks.NewMonitor(p.connections, p.lanes, p.logger)
	if p.roles.Worker {
		p.startWorker(r, monitor, writer, migrated)
	}
	// A worker accepts no points.
	bypassesRedis, admitsLive := func() bool { return false }, func() bool { return true }
	var ingest *handlers.Ingest
	var flights *store.Reader
	var live *livestream.Hub
	access := p.access()
	if p.roles.API {
		if access.Tokens != nil {
			access.Sessions = session.NewStore(p.connections.Inspect, access.Tokens, p.config.Redis.Timeout, p.logger)
			r.parts.Go(func() { access.Sessions.Run(r.background) })
		}
		flights = store.NewReader(p.pool, p.lanes)
		live = livestream.NewHub(flights, p.connections.Inspect, p.liveChannel(), p.lanes[0], recorder, p.logger)
		r.parts.Go(func() { live.Run(r.serving) })
		enqueuer := p.startEnqueuer(r, monitor, writer)
		bypassesRedis = func() bool { return !enqueuer.Available() }
		admitsLive = func() bool { return enqueuer.Admits(p.lanes[0]) }
		ingest = &handlers.Ingest{Lanes: p.lanes, Enqueuer: enqueuer, Bypass: tasks.NewBypass(p.lanes, writer, p.batching())}
	}
	r.parts.Go(func() { monitor.Run(r.background) })
	collector := status.NewCollector(status.Config{
		Lanes: p.lanes, Weights: p.weights(), Recorder: recorder, Version: p.version, Logger: p.logger,
		Database:      store.NewDatabase(p.pool, p.lanes),
		Inspector:     tasks.NewInspector(p.connections, p.lanes),
		BypassesRedis: bypassesRedis, AdmitsLive: admitsLive,
		Open: !p.config.AuthRequired(), OpenToOthers: p.isOpenToOthers(),
	})
	recorder.Register(status.NewExporter(collector))
	server := handlers.New(handlers.Config{
		Status: collector, Recorder: recorder, Access: access, OperatorsApart: p.operators != nil, Ingest: ingest, Flights: flights, Live: live, Map: mappage.New(p.config.MapTiles), Logger: p.logger,
		Asynqmon: asynqmon.New(p.connections.Browse, p.lanes,
			asynqmon.Options{ReadOnly: p.config.AsynqmonReadOnly}),
	})
	r.parts.Go(func() { server.Run(r.serving) })
	return server
}

// startEnqueuer starts the way of points into Redis.
func (p *Program) startEnqueuer(r *run, monitor *tasks.Monitor, writer *store.Writer) *tasks.Enqueuer {
	enqueuer := tasks.NewEnqueuer(p.connections, p.lanes, monitor, writer, tasks.EnqueuerOptions{
		Batching: p.batching(), Timeout: p.config.Redis.Timeout, MaxWaitingPoints: p.config.MaxWaitingPoints,
	}, p.logger)
	r.parts.Go(func() { enqueuer.Run(r.background) })
	r.flush = enqueuer.Flush
	return enqueuer
}

// startWorker starts the way of points from Redis into PostgreSQL once migrated
// is closed: before, there is no table to write to.
func (p *Program) startWorker(r *run, monitor *tasks.Monitor, writer *store.Writer, migrated <-chan struct{}) {
	worker := tasks.NewWorker(p.connections, p.lanes, monitor, writer, tasks.WorkerOptions{
		Concurrency:     p.config.WorkerConcurrency,
		Weights:         p.weights(),
		Batching:        p.batching(),
		ShutdownTimeout: p.config.ShutdownTimeout * 3 / 4,
	}, p.logger)
	r.parts.Go(func() {
		<-migrated
		store.ListOlderFlights(r.ctx, p.pool, p.lanes, p.logger)
	})
	r.parts.Go(func() {
		<-migrated
		if err := worker.Run(r.ctx); err != nil {
			r.fail(err)
		}
	})
}

func (p *Program) batching() tasks.Batching {
	return tasks.Batching{
		MinPoints: p.config.BatchMinPoints, MaxPoints: p.config.BatchMaxPoints,
		GracePeriod: p.config.GroupGracePeriod, MaxDelay: p.config.GroupMaxDelay,
	}
}

func (p *Program) weights() map[string]int {
	weights := make(map[string]int)
	for _, l := range p.lanes {
		weights[l.Name] = p.config.Lanes[l.Name].Weight
	}
	return weights
}

// observeWrites counts what a writer did, and tells viewers of the points. That
// flights are not listed is logged once.
func observeWrites(recorder *metrics.Recorder, publisher *livestream.Publisher, logger *slog.Logger) store.Observer {
	var unlisted sync.Once
	return func(points *lane.Points, result store.Result, took time.Duration, err error) {
		if err != nil || len(result.Rejected) > 0 {
			publisher.Missed() // some may be committed
		} else {
			publisher.Publish(points)
		}
		if result.Unlisted != nil {
			unlisted.Do(func() {
				logger.Warn("points are stored, and their flights are not listed in /flights; this is logged once", "error", result.Unlisted)
			})
		}
		if err != nil {
			recorder.WriteFailed(points.Lane)
			return
		}
		recorder.Written(points, result.Inserted, result.Duplicates, len(result.Rejected), took)
	}
}

// liveChannel is where processes of this installation tell each other of points.
func (p *Program) liveChannel() string {
	database := 0
	if options, err := p.config.Redis.Options(); err == nil { // New has checked it
		database = options.DB
	}
	return livestream.Channel(database)
}

// processID distinguishes this process from the others that share its Redis.
func processID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // the number behind it makes the id unique all the same
	}
	return fmt.Sprintf("%s:%d:%x", host, os.Getpid(), rand.Uint64())
}
