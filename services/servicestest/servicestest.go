// Package servicestest gives tests a PostgreSQL and a Redis of their own.
package servicestest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tracklane/services"
)

// Servers is what the tests of one package share: a PostgreSQL in which each
// test has a database of its own.
type Servers struct {
	folder    string
	postgres  *services.Postgres
	databases atomic.Int64
}

// stopTimeout bounds the end of a server.
const stopTimeout = 10 * time.Second

// Run starts a PostgreSQL, hands it to use, runs the package's tests, ends the
// server and returns the exit status. A package's TestMain calls it:
//
//	var servers *servicestest.Servers
//
//	func TestMain(m *testing.M) {
//		os.Exit(servicestest.Run(m, func(s *servicestest.Servers) { servers = s }))
//	}
func Run(m *testing.M, use func(*Servers)) (status int) {
	folder, err := makeFolder("")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	s := &Servers{folder: folder}
	s.postgres, err = services.StartPostgres(context.Background(), services.PostgresOptions{
		Dir: filepath.Join(folder, "postgres"), Logger: slog.Default(),
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

// makeFolder makes a folder that a server of another user can reach.
func makeFolder(parent string) (string, error) {
	folder, err := os.MkdirTemp(parent, "tracklane-test-")
	if err == nil {
		err = os.Chmod(folder, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("make a folder for the tests: %w", err)
	}
	return folder, nil
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

// Postgres starts a PostgreSQL for one test, which may stop and kill it.
func (s *Servers) Postgres(t testing.TB) *services.Postgres {
	t.Helper()
	folder, err := makeFolder(s.folder)
	if err != nil {
		t.Fatal(err)
	}
	postgres, err := services.StartPostgres(t.Context(), services.PostgresOptions{Dir: folder, Logger: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postgres.Kill(); err != nil {
			t.Error(err)
		}
	})
	return postgres
}

// Redis starts a Redis for one test, which may stop and kill it: a real one
// where there is one on the machine. The test's log says which.
func (s *Servers) Redis(t testing.TB, arguments ...string) *services.Redis {
	t.Helper()
	return s.redis(t, services.RedisOptions{Arguments: arguments})
}

// EmbeddedRedis starts an in-process Redis for one test.
func (s *Servers) EmbeddedRedis(t testing.TB) *services.Redis {
	t.Helper()
	return s.redis(t, services.RedisOptions{Embedded: true})
}

func (s *Servers) redis(t testing.TB, options services.RedisOptions) *services.Redis {
	t.Helper()
	folder, err := makeFolder(s.folder)
	if err != nil {
		t.Fatal(err)
	}
	options.Dir, options.Logger = folder, slog.Default()
	redis, err := services.StartRedis(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("Redis of this test:", redis.Name())
	t.Cleanup(func() {
		if err := redis.Kill(); err != nil {
			t.Error(err)
		}
	})
	return redis
}
