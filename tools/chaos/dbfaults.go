package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
	"tracklane/internal/redisinfo"
	"tracklane/migrations"
)

// harnessName is what the harness calls itself to PostgreSQL.
const harnessName = "tracklane-chaos"

// adminTimeout bounds what the harness does on the servers themselves.
const adminTimeout = 5 * time.Second

// migrateUnderLoad lets the processes reach the database, which is empty: each of
// them migrates it, while clients send. It returns when the schema is complete and
// prepared for the faults. The API that was kept from Redis reaches it again then.
func (tb *testbed) migrateUnderLoad(ctx context.Context) error {
	for _, process := range slices.Concat(apiNames, workerNames) {
		tb.proxies[proxyName(process, postgresName)].set(conditions{})
	}
	err := retryFor(ctx, migrationTimeout, func(ctx context.Context) error {
		status, err := migrations.ReadStatus(ctx, tb.Postgres.DSN())
		pending := func(m migrations.Migration) bool { return m.AppliedAt.IsZero() }
		if err == nil && slices.ContainsFunc(status.Migrations, pending) {
			err = errors.New("the schema is not complete")
		}
		return err
	})
	if err == nil {
		err = tb.prepareDatabase(ctx)
	}
	if tb.Cluster == nil {
		tb.proxies[proxyName(apiNames[0], redisName)].set(conditions{})
	}
	return err
}

// duplicateTable is PostgreSQL's code for a table that is there already.
const duplicateTable = "42P07"

// migrationTimeout is how long the first migration may take.
const migrationTimeout = 30 * time.Second

// refusedFlights begins the names of the flights whose points the database
// refuses.
const refusedFlights = "refused-"

// refuseFlights makes the database refuse them.
const refuseFlights = `
	ALTER TABLE live_track_points ADD CONSTRAINT chaos CHECK (flight_id NOT LIKE '` + refusedFlights + `%');
	ALTER TABLE uploaded_track_points ADD CONSTRAINT chaos CHECK (flight_id NOT LIKE '` + refusedFlights + `%');`

// prepareDatabase makes the tables refuse some flights and puts a trigger on each
// table that does what the table chaos_faults says at the time. It runs after the
// rows are in, as a full disk or a slow one is met at the end of the work, with the
// locks held.
func (tb *testbed) prepareDatabase(ctx context.Context) error {
	statements := fmt.Sprintf(`
		CREATE TABLE chaos_faults (kind text NOT NULL, until timestamptz NOT NULL);
		CREATE INDEX ON rejected_points ((point->>'flight_id'));
		CREATE FUNCTION chaos_fault() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE fault text;
		BEGIN
			FOR fault IN SELECT kind FROM chaos_faults WHERE until > clock_timestamp() LOOP
				IF fault = '%s' THEN
					RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
				END IF;
				PERFORM pg_sleep(0.3 + random() * 3);
			END LOOP;
			RETURN NULL;
		END $$;`, diskFull) + refuseFlights
	for _, l := range lane.All(lane.Options{}) {
		statements += fmt.Sprintf("CREATE TRIGGER chaos AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION chaos_fault();",
			pgx.Identifier{l.Table}.Sanitize())
	}
	return retryFor(ctx, migrationTimeout, func(ctx context.Context) error {
		_, err := tb.database.Exec(ctx, statements) // one transaction
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == duplicateTable {
			return nil // it was committed, and its response lost
		}
		if err != nil {
			return fmt.Errorf("prepare the database: %w", err)
		}
		return nil
	})
}

// injectDBFault makes each write to the tables meet a fault for a time.
func (tb *testbed) injectDBFault(ctx context.Context, k kind, lasts time.Duration) error {
	return retry(ctx, func(ctx context.Context) error {
		_, err := tb.database.Exec(ctx, "INSERT INTO chaos_faults VALUES ($1, clock_timestamp() + $2)", string(k), lasts)
		return err
	})
}

// occupyConnections takes every connection that PostgreSQL has, those of
// tracklane too, until ctx ends.
func (tb *testbed) occupyConnections(ctx context.Context) error {
	var held []*pgx.Conn
	defer func() {
		for _, connection := range held {
			ending, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = connection.Close(ending) // it may be broken already
			cancel()
		}
	}()
	config, err := pgx.ParseConfig(tb.Postgres.DSN())
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
		clock.Sleep(ctx, 50*time.Millisecond)
	}
	return nil
}

// crashBackend kills a server process of PostgreSQL that serves tracklane.
func (tb *testbed) crashBackend(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		var pid int
		err := tb.database.QueryRow(ctx, `SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND application_name NOT LIKE 'tracklane-chaos%'
			ORDER BY state = 'active' DESC, random() LIMIT 1`).Scan(&pid)
		if err != nil {
			return fmt.Errorf("find a server process that serves tracklane: %w", err)
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	})
}

// smartShutdown sends PostgreSQL a SIGTERM: it accepts no more connections, and
// waits for those that it has.
func (tb *testbed) smartShutdown() error {
	return syscall.Kill(tb.Postgres.PID(), syscall.SIGTERM)
}

// fillRedis sets maxmemory to a little less than what Redis uses.
func (tb *testbed) fillRedis(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		info, err := tb.redisInfo(ctx, "memory")
		if err != nil {
			return err
		}
		used, err := info.Int("used_memory")
		if err != nil {
			return err
		}
		return tb.queues.ConfigSet(ctx, "maxmemory", strconv.FormatInt(used*9/10, 10)).Err()
	})
}

// emptyRedis takes maxmemory away again.
func (tb *testbed) emptyRedis(ctx context.Context) error {
	return retry(ctx, func(ctx context.Context) error {
		return tb.queues.ConfigSet(ctx, "maxmemory", "0").Err()
	})
}

// unwritten says what Redis holds of its append-only file that the kernel does
// not have yet: it responds while a sync is under way, and writes afterwards. A
// kill -9 in that moment loses what it answered.
func (tb *testbed) unwritten(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	info, err := tb.redisInfo(ctx, "persistence")
	if err != nil {
		return "INFO before: " + err.Error()
	}
	var fields []string
	for _, name := range []string{"aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync"} {
		fields = append(fields, name+"="+info[name])
	}
	return strings.Join(fields, " ")
}

// redisInfo returns the fields of a section of Redis's INFO.
func (tb *testbed) redisInfo(ctx context.Context, section string) (redisinfo.Fields, error) {
	text, err := tb.queues.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("ask Redis for its %s: %w", section, err)
	}
	return redisinfo.Parse(text), nil
}

// retry does something that may fail while the last fault is being overcome.
func retry(ctx context.Context, do func(context.Context) error) error {
	return retryFor(ctx, adminTimeout, do)
}

// retryFor tries for a time. Each attempt is bounded by adminTimeout.
func retryFor(ctx context.Context, timeout time.Duration, do func(context.Context) error) error {
	deadline := time.Now().Add(timeout)
	for {
		attempt, cancel := context.WithTimeout(ctx, adminTimeout)
		err := do(attempt)
		cancel()
		if err == nil || time.Now().After(deadline) || !clock.Sleep(ctx, 100*time.Millisecond) {
			return err
		}
	}
}
