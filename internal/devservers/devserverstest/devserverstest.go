// Package devserverstest gives tests a PostgreSQL and a Redis of their own.
package devserverstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tracklane/internal/devservers"
)

// Servers is what the tests of one package share: a PostgreSQL in which each
// test has a database of its own.
type Servers struct {
	dir       string
	postgres  *devservers.Postgres
	databases atomic.Int64
}

const (
	// stopTimeout bounds the end of a server.
	stopTimeout = 10 * time.Second

	// clusterTimeout bounds the start of a Redis Cluster.
	clusterTimeout = time.Minute

	// nodeTimeout is how long a server of a cluster may be silent before it counts as down.
	nodeTimeout = 2 * time.Second
)

// Run starts a PostgreSQL, hands it to use, runs the package's tests, ends the
// server and returns the exit status. A package's TestMain calls it:
//
//	var servers *devserverstest.Servers
//
//	func TestMain(m *testing.M) {
//		os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
//	}
func Run(m *testing.M, use func(*Servers)) (status int) {
	dir, err := makeDir("")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	s := &Servers{dir: dir}
	s.postgres, err = devservers.StartPostgres(context.Background(), devservers.PostgresOptions{
		Dir: filepath.Join(dir, "postgres"), Logger: slog.Default(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := s.postgres.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	use(s)
	return m.Run()
}

// makeDir makes a directory that a server of another user can reach.
func makeDir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "tracklane-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("make a directory for the tests: %w", err)
	}
	return dir, nil
}

// testDir makes a directory for a server of one test.
func (s *Servers) testDir(t testing.TB) string {
	t.Helper()
	dir, err := makeDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// killAtEnd kills a server when the test ends.
func killAtEnd(t testing.TB, server interface{ Kill() error }) {
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
	})
}

// Database makes an empty database that is dropped when the test ends, and
// returns its URL.
func (s *Servers) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	dsn, err := s.postgres.CreateDatabase(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := s.postgres.DropDatabase(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

// Postgres starts a PostgreSQL for one test, which may stop and kill it. Dir and
// Logger of the options are set here.
func (s *Servers) Postgres(t testing.TB, options devservers.PostgresOptions) *devservers.Postgres {
	t.Helper()
	options.Dir, options.Logger = s.testDir(t), slog.Default()
	postgres, err := devservers.StartPostgres(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, postgres)
	return postgres
}

// Redis starts a Redis for one test, which may stop and kill it: a real one
// where there is one on the machine. The test's log says which.
func (s *Servers) Redis(t testing.TB, arguments ...string) *devservers.Redis {
	t.Helper()
	return s.redis(t, devservers.RedisOptions{Arguments: arguments})
}

// RedisCluster starts a Redis Cluster for one test, which may kill its servers. It skips
// the test where there is no Redis that can be part of one.
func (s *Servers) RedisCluster(t testing.TB) *devservers.RedisCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusterTimeout)
	defer cancel()
	cluster, err := devservers.StartRedisCluster(ctx, devservers.RedisClusterOptions{Dir: s.testDir(t), NodeTimeout: nodeTimeout})
	if errors.Is(err, devservers.ErrNoRedisCluster) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, cluster)
	return cluster
}

// EmbeddedRedis starts an in-process Redis for one test.
func (s *Servers) EmbeddedRedis(t testing.TB) *devservers.Redis {
	t.Helper()
	return s.redis(t, devservers.RedisOptions{Embedded: true})
}

func (s *Servers) redis(t testing.TB, options devservers.RedisOptions) *devservers.Redis {
	t.Helper()
	options.Dir, options.Logger = s.testDir(t), slog.Default()
	redis, err := devservers.StartRedis(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("Redis of this test:", redis.Name())
	killAtEnd(t, redis)
	return redis
}
