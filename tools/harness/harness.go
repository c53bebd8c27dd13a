// Package harness starts what the chaos test and the benchmark need: tracklane,
// built from this module, a durable PostgreSQL, a Redis with an append-only file,
// and processes that are started again and again.
package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"tracklane/internal/devservers"
)

// ErrNoRedis says that a run cannot be carried out on this machine.
var ErrNoRedis = errors.New("there is no redis-server or valkey-server on PATH: install one, " +
	"the embedded one keeps nothing on disk")

// stopTimeout is how long the servers may take to stop.
const stopTimeout = 30 * time.Second

// System is a directory with the binary of tracklane, and the two servers that
// tracklane needs, whose data lies in it.
type System struct {
	// Dir is the system's own directory, which users of other processes may enter.
	Dir string
	// Binary is the program tracklane.
	Binary string

	Postgres *devservers.Postgres
	// Redis is the server, unless Redis is the Cluster.
	Redis   *devservers.Redis
	Cluster *devservers.RedisCluster

	// RedisDirs is where Redis has its directory, and other servers of its kind may.
	RedisDirs string
	// release lets go of RedisDirs.
	release func() error
}

// Options say how a System is opened.
type Options struct {
	// Name begins the name of the directory in the system's place for temporary ones.
	Name string
	// Plain leaves TimescaleDB out where the installation has it.
	Plain bool
	// RedisDirs, unless nil, gets the system's directory and returns the one in
	// which Redis has its own, and what is to be called when Redis has stopped. It
	// is called before Redis is started.
	RedisDirs func(dir string) (redisDirs string, release func() error, err error)
	// RedisArguments are added to those of redis-server.
	RedisArguments []string
	// RedisCluster makes Redis a cluster.
	RedisCluster bool
}

// nodeTimeout is how long a server of the cluster may be silent before it counts as down.
const nodeTimeout = 2 * time.Second

// Open makes the directory, builds tracklane and starts the servers. The database
// is empty: see Migrate. With an error, which is ErrNoRedis on a machine without
// a Redis, nothing runs, and the directory is removed. The caller must Stop the
// system otherwise.
func Open(ctx context.Context, options Options) (opened *System, err error) {
	dir, err := os.MkdirTemp("", options.Name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the run: %w", err)
	}
	s := &System{Dir: dir, Binary: filepath.Join(dir, "system-under-test"), RedisDirs: dir, release: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(), s.Remove())
		}
	}()
	// PostgreSQL runs as another user when this process is root's.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the directory to others: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", s.Binary, "tracklane/cmd/tracklane")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build tracklane: %w: %s", err, output)
	}
	if options.RedisDirs != nil {
		redisDirs, release, err := options.RedisDirs(dir)
		if err != nil {
			return nil, fmt.Errorf("prepare the directory of Redis: %w", err)
		}
		s.RedisDirs, s.release = redisDirs, release
	}
	return s, s.start(ctx, options)
}

// start starts the servers.
func (s *System) start(ctx context.Context, options Options) (err error) {
	s.Postgres, err = devservers.StartPostgres(ctx, devservers.PostgresOptions{
		Dir: filepath.Join(s.Dir, "postgresql"), Durable: true, Plain: options.Plain,
	})
	if err != nil {
		return err
	}
	if options.RedisCluster {
		s.Cluster, err = devservers.StartRedisCluster(ctx, devservers.RedisClusterOptions{
			Dir: filepath.Join(s.RedisDirs, "redis"), NodeTimeout: nodeTimeout, Arguments: options.RedisArguments,
		})
		return err
	}
	s.Redis, err = devservers.StartRedis(ctx, devservers.RedisOptions{
		Dir: filepath.Join(s.RedisDirs, "redis"), Arguments: options.RedisArguments,
	})
	if err != nil {
		return err
	}
	if s.Redis.InMemory() {
		return ErrNoRedis
	}
	return nil
}

// Migrate makes the schema.
func (s *System) Migrate(ctx context.Context) error {
	command := exec.CommandContext(ctx, s.Binary, "migrate", "up")
	command.Env = s.Environment()
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, output)
	}
	return nil
}

// Environment is that of a process of tracklane that uses both servers, with
// settings, which win.
func (s *System) Environment(settings ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "DATABASE_URL=" + s.Postgres.DSN(), "REDIS_URL=" + s.RedisURL(), "AUTH=off",
	}, settings...)
}

// RedisURL is where Redis is reached.
func (s *System) RedisURL() string {
	if s.Cluster != nil {
		return s.Cluster.URL()
	}
	return s.Redis.URL()
}

// redisName is which Redis it is.
func (s *System) redisName() string {
	if s.Cluster != nil {
		return "a cluster of " + s.Cluster.Servers[0].Name()
	}
	return s.Redis.Name()
}

// Stop stops the servers, once. The directory stays.
func (s *System) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var servers sync.WaitGroup
	var stopped [2]error
	switch {
	case s.Cluster != nil:
		servers.Go(func() { stopped[0] = s.Cluster.Kill() })
	case s.Redis != nil:
		servers.Go(func() { stopped[0] = s.Redis.Stop(ctx) })
	}
	if s.Postgres != nil {
		servers.Go(func() { stopped[1] = s.Postgres.Stop(ctx) })
	}
	servers.Wait()
	return errors.Join(append(stopped[:], s.release())...)
}

// Remove removes the directory and the data of stopped servers.
func (s *System) Remove() error {
	var data error
	if s.Postgres != nil {
		data = os.RemoveAll(s.Postgres.Dir()) // which may lie elsewhere
	}
	if err := errors.Join(data, os.RemoveAll(s.Dir)); err != nil {
		return fmt.Errorf("remove the run's data: %w", err)
	}
	return nil
}

// FreeAddress returns an address of the loopback interface on which nothing
// listens now.
func FreeAddress() (string, error) {
	port, err := devservers.FreePort()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}
