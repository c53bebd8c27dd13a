package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tracklane/internal/lane"
)

// harnessName is what the harness calls itself to PostgreSQL.
const harnessName = "tracklane-chaos"

// adminTimeout bounds what the harness does on the servers themselves.
const adminTimeout = 5 * time.Second

// prepareDatabase makes the schema and, on each table, a trigger that does what
// the table chaos_ailments says at the time. It runs after the rows are in, as
// a full disk or a slow one is met at the end of the work, with the locks held.
func (s *stage) prepareDatabase(ctx context.Context, binary string) error {
	migrate := exec.CommandContext(ctx, binary, "migrate", "up")
	migrate.Env = []string{"DATABASE_URL=" + s.postgres.DSN()}
	if output, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, output)
	}
	statements := fmt.Sprintf(`
		CREATE TABLE chaos_ailments (kind text NOT NULL, until timestamptz NOT NULL);
		CREATE FUNCTION chaos_suffer() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE ailment text;
		BEGIN
			FOR ailment IN SELECT kind FROM chaos_ailments WHERE until > clock_timestamp() LOOP
				IF ailment = '%s' THEN
					RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
				END IF;
				PERFORM pg_sleep(0.3 + random() * 3);
			END LOOP;
			RETURN NULL;
		END $$;`, diskFull)
	for _, l := range lane.All(lane.Options{}) {
		statements += fmt.Sprintf("CREATE TRIGGER chaos AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION chaos_suffer();",
			pgx.Identifier{l.Table}.Sanitize())
	}
	if _, err := s.database.Exec(ctx, statements); err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	return nil
}

// sicken makes each write to the tables suffer for a time.
func (s *stage) sicken(ctx context.Context, k kind, lasts time.Duration) error {
	return retry(ctx, func(ctx context.Context) error {
		_, err := s.database.Exec(ctx, "INSERT INTO chaos_ailments VALUES ($1, clock_timestamp() + $2)", string(k), lasts)
		return err
	})
}

// occupyConnections takes every connection that PostgreSQL has, those of
// tracklane too, until ctx ends.
func (s *stage) occupyConnections(ctx context.Context) error {
	var held []*pgx.Conn
	defer func() {
		for _, connection := range held {
			ending, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = connection.Close(ending) // it may be broken already
			cancel()
		}
	}()
	config, err := pgx.ParseConfig(s.postgres.DSN())
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	config.RuntimeParams["application_name"] = harnessName
	config.ConnectTimeout = 2 * time.Second
	driven := false
	for ctx.Err() == nil {
		connection, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			held = append(held, connection)
			continue
		}
		var refused *pgconn.PgError
		if !driven && len(held) > 0 && errors.As(err, &refused) && refused.Code == "53300" {
			// Full: now those that tracklane has.
			driven = true
			_, err := held[0].Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE backend_type = 'client backend' AND application_name NOT LIKE 'tracklane-chaos%'`)
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("end tracklane's connections: %w", err)
			}
			continue
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return nil
}

// crashBackend kills a server process of PostgreSQL that serves tracklane.
func (s *stage) crashBackend(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		var pid int
		err := s.database.QueryRow(ctx, `SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND application_name NOT LIKE 'tracklane-chaos%'
			ORDER BY state = 'active' DESC, random() LIMIT 1`).Scan(&pid)
		if err != nil {
			return fmt.Errorf("find a server process that serves tracklane: %w", err)
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	})
}

// smartShutdown sends PostgreSQL a SIGTERM: it takes no more connections, and
// waits for those that it has.
func (s *stage) smartShutdown() error {
	text, err := os.ReadFile(filepath.Join(s.postgres.Folder(), "postmaster.pid"))
	if err != nil {
		return fmt.Errorf("find PostgreSQL's process: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return fmt.Errorf("find PostgreSQL's process: %w", err)
	}
	return syscall.Kill(pid, syscall.SIGTERM)
}

// fillRedis sets maxmemory to a little less than what Redis uses.
func (s *stage) fillRedis(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		memory, err := s.redisInfo(ctx, "memory", "used_memory")
		if err != nil {
			return err
		}
		used, err := strconv.Atoi(memory)
		if err != nil {
			return fmt.Errorf("read used_memory of Redis: %w", err)
		}
		return s.queues.ConfigSet(ctx, "maxmemory", strconv.Itoa(used*9/10)).Err()
	})
}

// emptyRedis takes maxmemory away again.
func (s *stage) emptyRedis(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		return s.queues.ConfigSet(ctx, "maxmemory", "0").Err()
	})
}

// unwritten says what Redis holds of its append-only file that the kernel does
// not have yet: it answers while a sync is under way, and writes afterwards. A
// kill -9 in that moment loses what it answered.
func (s *stage) unwritten(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	var words []string
	for _, name := range []string{"aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync"} {
		value, err := s.redisInfo(ctx, "persistence", name)
		if err != nil {
			return "INFO before: " + err.Error()
		}
		words = append(words, name+"="+value)
	}
	return strings.Join(words, " ")
}

// redisInfo returns a field of Redis's INFO.
func (s *stage) redisInfo(ctx context.Context, section, field string) (string, error) {
	info, err := s.queues.Info(ctx, section).Result()
	if err != nil {
		return "", fmt.Errorf("ask Redis for its %s: %w", section, err)
	}
	_, rest, found := strings.Cut(info, "\n"+field+":")
	if !found {
		return "", fmt.Errorf("no %s in the INFO of Redis", field)
	}
	value, _, _ := strings.Cut(rest, "\r\n")
	return value, nil
}

// retry does something that may fail while the last fault is being overcome.
func retry(ctx context.Context, do func(context.Context) error) error {
	deadline := time.Now().Add(adminTimeout)
	for {
		attempt, cancel := context.WithTimeout(ctx, adminTimeout)
		err := do(attempt)
		cancel()
		if err == nil || time.Now().After(deadline) || !sleep(ctx, 100*time.Millisecond) {
			return err
		}
	}
}
