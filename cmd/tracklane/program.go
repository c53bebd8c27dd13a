package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/net/netutil"

	"tracklane/asynqmon"
	"tracklane/handlers"
	"tracklane/internal/config"
	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/migrations"
	"tracklane/store"
	"tracklane/tasks"
)

// roles says which parts of tracklane a process runs.
type roles struct{ api, worker bool }

// program is tracklane as one process runs it: the one place where its parts
// are joined. The commands and the end-to-end tests start the same one.
type program struct {
	config   config.Config
	roles    roles
	logger   *slog.Logger
	listener net.Listener

	lanes       []*lane.Lane
	pool        *pgxpool.Pool
	connections *tasks.Connections
}

// newProgram makes a program that listens already, so that an address in use
// is found out at once. Neither PostgreSQL nor Redis needs to be there yet.
// A program that was made must be run.
func newProgram(c config.Config, r roles, logger *slog.Logger) (*program, error) {
	redis, err := c.Redis.Options()
	if err != nil {
		return nil, err
	}
	database, err := c.DatabasePool()
	if err != nil {
		return nil, err
	}
	pool, err := store.Open(database)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", c.HTTPAddr)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("listen on HTTP_ADDR: %w", err)
	}
	listener = netutil.LimitListener(listener, maxClients)
	return &program{
		config: c, roles: r, logger: logger, listener: listener,
		lanes:       lane.All(lane.Options{FlymasterSecret: c.FlymasterSecret}),
		pool:        pool,
		connections: tasks.Connect(*redis, c.Redis.MaxConnections),
	}, nil
}

// url is where the program is to be reached from the same machine.
func (p *program) url() string {
	address := p.listener.Addr().(*net.TCPAddr)
	host := address.IP.String()
	if address.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(address.Port))
}

// maxClients is how many clients may be connected at the same time; others
// wait until one goes. Each takes some 20 kB.
const maxClients = 10_000

// The bounds of one HTTP request. A telephone in a valley sends slowly: what
// it sends may take a minute, but it must begin at once.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = time.Minute
	idleTimeout   = 2 * time.Minute
)

// run works until ctx ends and then stops within the configured
// SHUTDOWN_TIMEOUT. It returns nil after an orderly stop.
func (p *program) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// What requests in flight need outlives ctx.
	background, stopBackground := context.WithCancel(context.Background())
	var running sync.WaitGroup
	if p.config.DebugAddr != "" {
		running.Go(func() { p.serveDebug(background) })
	}
	migrated := make(chan struct{})
	running.Go(func() {
		tablesAreThere := sync.OnceFunc(func() { close(migrated) })
		defer tablesAreThere()
		if p.config.MigrateOnStart {
			p.migrate(ctx, tablesAreThere)
		}
	})

	batching := tasks.Batching{
		MinPoints: p.config.BatchMinPoints, MaxPoints: p.config.BatchMaxPoints,
		GracePeriod: p.config.GroupGracePeriod, MaxDelay: p.config.GroupMaxDelay,
	}
	recorder := metrics.New(p.lanes, version)
	writer := store.NewWriter(p.pool, p.lanes, p.config.BatchMaxPoints, observeWrites(recorder))
	running.Go(func() { recorder.Publish(background, p.connections.Inspect, processID()) })
	handled := handlers.Parts{
		Lanes: p.lanes, Writer: writer, Recorder: recorder, Logger: p.logger,
		Database:  store.NewDatabase(p.pool, p.lanes),
		Inspector: tasks.NewInspector(p.connections, p.lanes),
		Asynqmon: asynqmon.New(p.connections.Inspect, p.lanes,
			asynqmon.Options{ReadOnly: p.config.AsynqmonReadOnly}),
		Weights: p.weights(),
		Version: version,
	}
	if p.roles.api {
		handled.Enqueuer = tasks.NewEnqueuer(p.connections, p.lanes, tasks.EnqueuerOptions{
			Batching: batching, Timeout: p.config.Redis.Timeout, MaxWaitingPoints: p.config.MaxWaitingPoints,
		}, p.logger)
		running.Go(func() { handled.Enqueuer.Run(background) })
	}
	if p.roles.worker {
		worker := tasks.NewWorker(p.connections, p.lanes, writer, tasks.WorkerOptions{
			Concurrency:     p.config.WorkerConcurrency,
			Weights:         p.weights(),
			Batching:        batching,
			ShutdownTimeout: p.config.ShutdownTimeout * 3 / 4,
		}, p.logger)
		running.Go(func() {
			<-migrated // there is no table to write to before
			worker.Run(ctx)
		})
	}
	answering := handlers.New(handled)
	running.Go(func() { answering.Run(ctx) })
	server := &http.Server{
		Handler:           answering,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(p.listener) }()
	p.logger.Info("tracklane is running", "url", p.url(), "api", p.roles.api, "worker", p.roles.worker)

	var failure error
	select {
	case <-ctx.Done():
	case err := <-failed:
		failure = fmt.Errorf("serve HTTP: %w", err)
		stop()
	}
	p.logger.Info("tracklane is stopping", "timeout", p.config.ShutdownTimeout)
	deadline, cancel := context.WithTimeout(context.Background(), p.config.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		p.logger.Warn("requests were cut off", "error", err)
		_ = server.Close() // closes what Shutdown gave up on
	}
	stopBackground()
	if !p.close(deadline, &running) {
		p.logger.Warn("SHUTDOWN_TIMEOUT is over; unfinished batches come back to the other workers")
	}
	p.logger.Info("tracklane has stopped")
	return failure
}

// close waits for the parts, then closes the pools. It returns false when ctx
// ended first.
func (p *program) close(ctx context.Context, running *sync.WaitGroup) bool {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		running.Wait()
		if err := p.connections.Close(); err != nil {
			p.logger.Warn("close the connections to Redis", "error", err)
		}
		p.pool.Close()
	}()
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}

// migratePause is how long a database that is away is left alone between two
// tries to migrate it.
const migratePause = time.Second

// migrate brings the schema up to date, as soon as there is a database. It
// calls tablesAreThere when points can be written although it could not, as
// when the database's user may not change the schema.
func (p *program) migrate(ctx context.Context, tablesAreThere func()) {
	database := store.NewDatabase(p.pool, p.lanes)
	reported := false
	for {
		err := migrations.Up(ctx, p.config.DatabaseURL, policies(p.config, p.lanes), p.logger)
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		if !reported {
			reported = true
			p.logger.Warn("the schema cannot be migrated yet; trying again until it can", "error", err)
		}
		if status, err := database.Check(ctx); err == nil && status.Writable {
			tablesAreThere()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(migratePause):
		}
	}
}

func (p *program) weights() map[string]int {
	weights := make(map[string]int)
	for _, l := range p.lanes {
		weights[l.Name] = p.config.Lanes[l.Name].Weight
	}
	return weights
}

// observeWrites counts what a writer did.
func observeWrites(recorder *metrics.Recorder) store.Observer {
	return func(points *lane.Points, result store.Result, took time.Duration, err error) {
		if err != nil {
			recorder.WriteFailed(points.Lane)
			return
		}
		recorder.Written(points, result.Inserted, result.Duplicates, result.Rejected, took)
	}
}

// processID tells this process from the others that share its Redis.
func processID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // the number behind it makes the id unique all the same
	}
	return fmt.Sprintf("%s:%d:%x", host, os.Getpid(), rand.Uint64())
}
