package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tracklane/load"
	"tracklane/services"
)

// system is what is measured: a durable PostgreSQL, a Redis with an
// append-only file, and tracklane's own processes.
type system struct {
	folder   string
	binary   string
	postgres *services.Postgres
	redis    *services.Redis
	pool     *pgxpool.Pool
	queue    *redis.Client
}

// readyTimeout bounds the start of a process.
const readyTimeout = 30 * time.Second

func startSystem(ctx context.Context) (s *system, err error) {
	s = &system{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.folder, err = os.MkdirTemp("", "bench-"); err != nil {
		return s, fmt.Errorf("make a folder: %w", err)
	}
	if err := os.Chmod(s.folder, 0o755); err != nil { // PostgreSQL may run as another user
		return s, fmt.Errorf("open the folder: %w", err)
	}
	s.binary = filepath.Join(s.folder, "measured")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "tracklane/cmd/tracklane").CombinedOutput(); err != nil {
		return s, fmt.Errorf("build tracklane: %w: %s", err, output)
	}
	s.postgres, err = services.StartPostgres(ctx, services.PostgresOptions{Dir: filepath.Join(s.folder, "postgresql"), Durable: true})
	if err != nil {
		return s, err
	}
	if s.redis, err = services.StartRedis(ctx, services.RedisOptions{Dir: filepath.Join(s.folder, "redis")}); err != nil {
		return s, err
	}
	if s.redis.InMemory() {
		return s, errors.New("there is no redis-server on PATH")
	}
	if s.pool, err = pgxpool.New(ctx, s.postgres.DSN()); err != nil {
		return s, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	address, err := redis.ParseURL(s.redis.URL())
	if err != nil {
		return s, fmt.Errorf("connect to Redis: %w", err)
	}
	s.queue = redis.NewClient(address)
	migrate := exec.CommandContext(ctx, s.binary, "migrate", "up")
	migrate.Env = s.environment("")
	if output, err := migrate.CombinedOutput(); err != nil {
		return s, fmt.Errorf("migrate: %w: %s", err, output)
	}
	return s, nil
}

func (s *system) close() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if s.pool != nil {
		s.pool.Close()
	}
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Stop(ctx))
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(s.folder))...)
}

func (s *system) environment(address string) []string {
	return append(os.Environ(), "DATABASE_URL="+s.postgres.DSN(), "REDIS_URL="+s.redis.URL(),
		"HTTP_ADDR="+address, "LOG_LEVEL=error", "MAX_WAITING_POINTS=100000000")
}

// process is one running process of tracklane, or of a competitor.
type process struct {
	url     string
	command *exec.Cmd
}

// start runs tracklane in a role and returns when it is ready.
func (s *system) start(ctx context.Context, role string) (*process, error) {
	port, err := services.FreePort()
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	command := exec.Command(s.binary, role)
	command.Env = s.environment(address)
	return startProcess(ctx, command, "http://"+address, "/readyz", http.StatusOK)
}

func startProcess(ctx context.Context, command *exec.Cmd, url, path string, want int) (*process, error) {
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command.Path, err)
	}
	p := &process{url: url, command: command}
	for deadline := time.Now().Add(readyTimeout); ; {
		answer, err := http.Get(url + path)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == want {
				return p, nil
			}
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s is not ready", command.Path), p.stop())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *process) stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.command.Path, err)
	}
	var ended *exec.ExitError
	if err := p.command.Wait(); err != nil && !errors.As(err, &ended) {
		return fmt.Errorf("stop %s: %w", p.command.Path, err)
	}
	return nil
}

// cpu is the time that the process has spent on a core, while it runs.
func (p *process) cpu() time.Duration {
	fields := p.stat()
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11]) // of /proc/PID/stat, behind the name
	system, _ := strconv.Atoi(fields[12])
	const tick = time.Second / 100
	return time.Duration(user+system) * tick
}

func (p *process) stat() []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// resident is the process's memory, in bytes.
func (p *process) resident() int64 {
	fields := p.stat()
	if len(fields) < 22 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	return pages * int64(os.Getpagesize())
}

// empty removes all points.
func (s *system) empty(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `TRUNCATE live_track_points, uploaded_track_points, scoring_tracks, flymaster`)
	if err == nil {
		_, err = s.pool.Exec(ctx, `CHECKPOINT`)
	}
	if err != nil {
		return fmt.Errorf("empty the tables: %w", err)
	}
	return nil
}

// send puts load on a process.
func (s *system) send(ctx context.Context, p *process, o load.Options) (load.Report, error) {
	o.URL, o.DatabaseURL, o.VerifyTimeout = p.url, s.postgres.DSN(), 5*time.Minute
	if o.Connections == 0 {
		o.Connections = 64
	}
	report, err := load.Run(ctx, o, io.Discard)
	if err != nil && !errors.Is(err, load.ErrNothingAcknowledged) {
		return report, err
	}
	return report, nil
}

// waitForRows waits until a table has as many rows, and returns how many it has
// then.
func (s *system) waitForRows(ctx context.Context, table string, rows int) (got int, err error) {
	for {
		err := s.pool.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&got)
		if err == nil && got >= rows {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return got, fmt.Errorf("%s has %d of %d rows: %w", table, got, rows, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
