package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"time"

	"tracklane/internal/devservers"
	"tracklane/internal/load"
	"tracklane/tools/harness"
)

// peer is a program that takes the same requests and writes the same rows as
// tracklane, or tracklane itself. The report compares them by what their
// responses promise, what they do a second, and what they lose.
type peer struct {
	name    string
	promise string // what a response says, in words

	// keepsAll says that an acknowledged point is to be stored, once.
	keepsAll bool

	connections int                     // of the generator; 0: as many as for all others
	table       func(w workload) string // that gets the rows

	search string // is added to the database's URL where the lanes' tables are views of it

	// drain is how long after its restart it may take to write what it has kept.
	drain time.Duration

	// serve makes it ready and runs it while do runs.
	serve func(ctx context.Context, do func(context.Context, *server) error) error
}

// peerRun is how a peer did with one workload in one repeat.
type peerRun struct {
	peer       string
	workload   workload
	hypertable bool
	points     int // that were sent
	endToEnd
}

// peerDuration bounds the sending of a run: slow peers get fewer points.
const peerDuration = 10 * time.Second

const ownName = "tracklane"

// peers lists those that can run here, tracklane first, and says which were left out.
func (s *system) peers() (peers []peer, notices []string) {
	table := func(w workload) string { return w.table }
	peers = []peer{
		{
			name: ownName, promise: "Redis has synced the points to its disk", keepsAll: true, table: table,
			drain: 2 * time.Minute, // a killed worker's batch is delivered again within one
			serve: func(ctx context.Context, do func(context.Context, *server) error) error {
				return s.runServer(ctx, "serve", do)
			},
		},
		{
			name: "direct INSERT", promise: "PostgreSQL has committed the points", keepsAll: true, table: table,
			drain: 5 * time.Second,
			serve: func(ctx context.Context, do func(context.Context, *server) error) error {
				return s.serveDirectInsert(ctx, s.Postgres.DSN()+"&pool_max_conns=10", do)
			},
		},
	}
	if devservers.HasPgBouncer() {
		peers = append(peers, peer{
			name: "direct INSERT, PgBouncer", promise: "PostgreSQL has committed the points", keepsAll: true, table: table,
			drain: 5 * time.Second, serve: s.throughPgBouncer,
		})
	} else {
		notices = append(notices, "PgBouncer is not installed here, and was left out.")
	}
	if s.telegraf != "" {
		peers = append(peers, s.telegrafPeers()...)
	} else {
		notices = append(notices, "Telegraf was left out (`--telegraf`).")
	}
	return peers, notices
}

// buildDirectInsert builds the handler that inserts directly.
func (s *system) buildDirectInsert(ctx context.Context) error {
	s.directInsert = filepath.Join(s.Dir, "directinsert")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.directInsert, "tracklane/tools/bench/directinsert")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the direct insert: %w: %s", err, output)
	}
	return nil
}

// serveDirectInsert runs the handler that inserts directly, while do runs.
func (s *system) serveDirectInsert(ctx context.Context, database string, do func(context.Context, *server) error) error {
	address, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	command := func() *exec.Cmd {
		return exec.Command(s.directInsert, "--address", address, "--database", database)
	}
	return withServer(ctx, command, "http://"+address, "/live", http.StatusMethodNotAllowed, do)
}

// measurePeer sends a workload to a peer.
func (s *system) measurePeer(ctx context.Context, p peer, w workload, points int) (run peerRun, err error) {
	run = peerRun{peer: p.name, workload: w, hypertable: s.Postgres.TimescaleDB()}
	if err := s.reset(ctx); err != nil {
		return run, err
	}
	err = p.serve(ctx, func(ctx context.Context, running *server) error {
		var report load.Report
		sending := w.saturating(points)
		sending.Duration = peerDuration
		if p.connections > 0 {
			sending.Connections = p.connections
		}
		run.endToEnd, report, err = s.measureEndToEnd(ctx, running, p.table(w), sending)
		run.points = int(report.Points)
		return err
	})
	if err != nil {
		return run, fmt.Errorf("%s, %d points a request: %w", p.name, w.points, err)
	}
	return run, nil
}

// measurePeers sends all workloads to all peers of a system, one after another.
func (s *system) measurePeers(ctx context.Context, points int) (runs []peerRun, err error) {
	peers, _ := s.peers()
	for _, w := range workloads() {
		for _, p := range peers {
			run, err := s.measurePeer(ctx, p, w, points)
			if err != nil {
				return nil, err
			}
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// comparePeers measures the peers on plain tables and, where TimescaleDB is
// installed, on hypertables.
func comparePeers(ctx context.Context, s *system, results *report) (err error) {
	systems := []*system{s}
	if s.Postgres.TimescaleDB() {
		plain, startErr := startSystem(ctx, true)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, plain.close()) }()
		plain.telegraf = s.telegraf
		systems = []*system{plain, s}
	}
	results.peers, results.notices = s.peers()
	for repeat := range results.repeats {
		for _, on := range systems {
			progress("repeat %d of %d: peers, with TimescaleDB: %t", repeat+1, results.repeats, on.Postgres.TimescaleDB())
			runs, err := on.measurePeers(ctx, results.points)
			if err != nil {
				return err
			}
			results.peerRuns = append(results.peerRuns, runs...)
		}
	}
	for _, p := range results.peers {
		progress("what is lost: %s", p.name)
		lost, err := s.measureLoss(ctx, p, usualKilling())
		if err != nil {
			return err
		}
		results.losses = append(results.losses, lost)
	}
	return nil
}
