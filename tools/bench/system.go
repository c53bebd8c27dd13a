package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/load"
	"tracklane/tools/harness"
)

// system is what is measured: a durable PostgreSQL, a Redis with an
// append-only file, and tracklane's own processes.
type system struct {
	*harness.System
	telegraf     string // the binary, or empty
	directInsert string // the binary, once it is built
	pool         *pgxpool.Pool
	queue        *redis.Client
}

const (
	verifyTimeout = time.Minute      // for all rows of a run, which are there
	drainTimeout  = 10 * time.Minute // for all points of a run to be stored

	// Counting rows takes time from those who write them.
	countInterval = time.Second

	saturation = 64 // connections
)

// startSystem starts it, on plain tables where that is asked for and otherwise on
// what the installation has.
func startSystem(ctx context.Context, plain bool) (s *system, err error) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return nil, fmt.Errorf("processor time is read from /proc, which only Linux has: %w", err)
	}
	s = &system{}
	if s.System, err = harness.Open(ctx, harness.Options{Name: "bench", Plain: plain}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.buildDirectInsert(ctx); err != nil {
		return s, err
	}
	if err := s.connect(ctx); err != nil {
		return s, err
	}
	return s, s.Migrate(ctx)
}

// connect opens the benchmark's own connections, and makes PostgreSQL remember
// when each transaction was committed.
func (s *system) connect(ctx context.Context) (err error) {
	if s.pool, err = pgxpool.New(ctx, s.Postgres.DSN()); err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if _, err := s.pool.Exec(ctx, "ALTER SYSTEM SET track_commit_timestamp = on"); err != nil {
		return fmt.Errorf("set up PostgreSQL: %w", err)
	}
	s.pool.Reset() // whose connection would not outlive the restart
	if err := s.Postgres.Stop(ctx); err != nil {
		return err
	}
	if err := s.Postgres.Restart(ctx); err != nil {
		return err
	}
	address, err := redis.ParseURL(s.Redis.URL())
	if err != nil {
		return fmt.Errorf("connect to Redis: %w", err)
	}
	s.queue = redis.NewClient(address)
	return nil
}

// close stops the servers and removes their data.
func (s *system) close() error {
	var errs []error
	if s.pool != nil {
		s.pool.Close()
	}
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	return errors.Join(append(errs, s.Stop(), s.Remove())...)
}

// runServer runs tracklane in a role, otherwise with its defaults, while do runs.
// The context of do ends with the process.
func (s *system) runServer(ctx context.Context, role string, do func(context.Context, *server) error, settings ...string) error {
	address, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	command := func() *exec.Cmd {
		command := exec.Command(s.Binary, role)
		command.Env = s.Environment(append(settings, "LOG_LEVEL=warn", "HTTP_ADDR="+address)...)
		return command
	}
	return withServer(ctx, command, "http://"+address, "/readyz", http.StatusOK, do)
}

// reset removes all points, stored and waiting, and leaves nothing for a later
// checkpoint to write.
func (s *system) reset(ctx context.Context) error {
	if err := s.queue.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	for _, statement := range []string{
		`TRUNCATE live_track_points, uploaded_track_points`,
		`DROP TABLE IF EXISTS ` + telegrafTable + ` CASCADE`,
		`CHECKPOINT`,
	} {
		if _, err := s.pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("empty the tables: %w", err)
		}
	}
	return nil
}

// send puts load on a process. All requests must be acknowledged.
func (s *system) send(ctx context.Context, p *server, o load.Options) (load.Report, error) {
	o.URL = p.url
	report, err := load.Run(ctx, o, io.Discard)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return report, errors.Join(fmt.Errorf("send: %w", err), context.Cause(ctx))
	}
	for status, requests := range report.Responses {
		if status < 200 || status > 299 {
			return report, fmt.Errorf("%d of %d requests had the response %d (0: none)", requests, report.Requests, status)
		}
	}
	return report, nil
}

// verify fails unless each acknowledged point of a run is stored, once, and
// nothing else of it is.
func (s *system) verify(ctx context.Context, report load.Report) error {
	found, err := report.Verify(ctx, s.Postgres.DSN(), verifyTimeout)
	if err == nil && (!found.OK() || found.Stored != report.Points) {
		err = fmt.Errorf("of %d points, %d are stored, %d missing; %d duplicates, %d unexpected rows: %w",
			report.Points, found.Stored, found.Missing, found.Duplicates, found.Unexpected, load.ErrPointsWrong)
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// enqueueBacklog puts points into Redis through a process without workers and leaves
// them there.
func (s *system) enqueueBacklog(ctx context.Context, w workload, points, connections int) (report load.Report, err error) {
	err = s.runServer(ctx, "api", func(ctx context.Context, p *server) error {
		report, err = s.enqueue(ctx, p, w, points, connections)
		return err
	})
	return report, err
}

// enqueue sends points, all of which must go to Redis.
func (s *system) enqueue(ctx context.Context, p *server, w workload, points, connections int) (load.Report, error) {
	report, err := s.send(ctx, p, load.Options{
		Lane: w.lane, PointsPerRequest: w.points, Requests: points / w.points, Connections: connections,
	})
	if err == nil && report.Responses[http.StatusAccepted] != report.Requests {
		err = fmt.Errorf("only %d of %d requests went to Redis", report.Responses[http.StatusAccepted], report.Requests)
	}
	return report, err
}
