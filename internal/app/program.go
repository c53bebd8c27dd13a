// Package app joins tracklane's parts to the program that one process runs. The
// commands, "dev" and the end-to-end tests start the same one; no other package
// knows all parts.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/certificate"
	"tracklane/internal/clock"
	"tracklane/internal/config"
	"tracklane/internal/lane"
	"tracklane/internal/listener"
	"tracklane/internal/mappage"
	"tracklane/store"
	"tracklane/tasks"
)

// Roles are the parts of tracklane that a process runs.
type Roles struct {
	API    bool // the lanes, the pages and the operators' endpoints
	Worker bool // the writing of queued points
}

// Program is tracklane as one process runs it.
type Program struct {
	config    config.Config
	roles     Roles
	version   string
	logger    *slog.Logger
	listener  *listener.Listener
	operators *listener.Listener // of OPERATOR_ADDR; nil = none of their own
	files     *certificate.Files // nil = HTTP

	lanes       []*lane.Lane
	pool        *pgxpool.Pool
	connections *tasks.Connections
}

// New makes a program that listens already, so that an address in use is found at
// once. Neither PostgreSQL nor Redis needs to be there yet. The version is what
// /health and the metrics say. A program that was made must be Run.
func New(c config.Config, roles Roles, version string, logger *slog.Logger) (*Program, error) {
	redis, err := c.Redis.Options()
	if err != nil {
		return nil, err
	}
	if roles.API {
		if err := mappage.CheckTiles(c.MapTiles); err != nil {
			return nil, fmt.Errorf("MAP_TILES: %w", err)
		}
	}
	database, err := c.DatabasePool()
	if err != nil {
		return nil, err
	}
	pool, err := store.Open(database)
	if err != nil {
		return nil, err
	}
	var files *certificate.Files
	if c.TLSCertFile != "" {
		if files, err = certificate.Load(c.TLSCertFile, c.TLSKeyFile, logger); err != nil {
			pool.Close()
			return nil, fmt.Errorf("TLS_CERT_FILE and TLS_KEY_FILE: %w", err)
		}
	}
	public, operators, err := listen(c)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &Program{
		files: files, config: c, roles: roles, version: version, logger: logger,
		listener: public, operators: operators,
		lanes:       lane.All(lane.Options{FlymasterSecret: c.FlymasterSecret}),
		pool:        pool,
		connections: tasks.Connect(*redis, c.Redis.MaxConnections),
	}, nil
}

// URL is where the program is to be reached from the same machine.
func (p *Program) URL() string {
	address := p.listener.Addr().(*net.TCPAddr)
	host := address.IP.String()
	if address.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme(p.config) + "://" + net.JoinHostPort(host, fmt.Sprint(address.Port))
}

const (
	// maxClients is how many clients may be connected at the same time. Each needs
	// some 20 kB.
	maxClients = 4000

	// maxSecureClients is maxClients with TLS, where each needs some 70 kB.
	maxSecureClients = 1500

	// maxHeaders is how many bytes of incomplete headers there may be, beyond the
	// first of each.
	maxHeaders = 2 << 20

	// maxOperators is how many of them there may be to OPERATOR_ADDR.
	maxOperators = 1000

	// reservedClients is how many more there may be from this machine itself.
	reservedClients = 64
)

// drainTime is how long HTTP_ADDR takes requests after /readyz has become 503, where
// something asks that all the time: a load balancer that asks every second sends
// nothing here by then, so that no connection is closed on which it sends a request.
const drainTime = 3 * time.Second

// Run works until ctx ends or a part fails, and then stops within the configured
// SHUTDOWN_TIMEOUT. It returns nil after an orderly stop, and the error of the
// part that failed first. It may be called once.
func (p *Program) Run(ctx context.Context) error {
	r := newRun(ctx)
	defer r.stop()
	handler := p.startParts(r)
	public, operators := p.startServers(r, handler)
	if p.isOpenToOthers() {
		p.logger.Warn("everybody may post points and see the operators' pages: AUTH is off")
	}
	p.logger.Info("tracklane is running", "url", p.URL(), "api", p.roles.API, "worker", p.roles.Worker)

	<-r.ctx.Done()
	p.logger.Info("tracklane is stopping", "timeout", p.config.ShutdownTimeout)
	deadline, cancel := context.WithTimeout(context.Background(), p.config.ShutdownTimeout)
	defer cancel()
	requests, cancelRequests := context.WithTimeout(deadline, p.config.ShutdownTimeout*3/4)
	defer cancelRequests()
	handler.Stop()
	if p.roles.API && handler.Watched() {
		clock.Sleep(requests, min(drainTime, p.config.ShutdownTimeout/4))
	}
	r.stopServing()
	p.shutDown(requests, public)
	r.flush(deadline)
	r.stopBackground()
	if !p.close(deadline, r, operators) {
		p.logger.Warn("SHUTDOWN_TIMEOUT is over; unfinished batches come back to the other workers")
	}
	p.logger.Info("tracklane has stopped")
	return r.failure()
}

// close waits for the parts, then stops the operators' server, which serves the
// probes until then, and closes the pools. It returns false if ctx ends first.
func (p *Program) close(ctx context.Context, r *run, operators *http.Server) bool {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.parts.Wait()
		if operators != nil {
			p.shutDown(ctx, operators)
		}
		r.servers.Wait()
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
