package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"tracklane/internal/postgres"
)

// lockKey is the advisory lock of a transaction of Up: "tracklan" in ASCII.
const lockKey = 0x747261636b6c616e

const (
	// lockPoll is how often a waiting Up looks whether the lock is free.
	// Waiting inside pg_advisory_xact_lock would hold a session, which a pooler
	// has few of, for as long as another process works.
	lockPoll = 100 * time.Millisecond

	// lockNotice is how long Up waits for the lock before it says so.
	lockNotice = 3 * time.Second
)

// open returns a pool of a single connection to databaseURL, connected.
func open(ctx context.Context, databaseURL string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		// pgx's own error may quote the password.
		return nil, errors.New("the database's URL (not shown) cannot be read: it must be a PostgreSQL URL " +
			"such as postgres://user:password@host:5432/database, special characters of the password percent-encoded")
	}
	postgres.Configure(config)
	// Each statement runs once, so describing it would be a round trip more.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(_ context.Context, connection *pgx.Conn) error {
		return postgres.CheckEncoding(connection)
	}))
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return db, nil
}

// inTransaction runs work in a transaction, and commits when it returns nil.
// Whatever the role's settings are, tables land in public, TimescaleDB's
// functions are visible where it is installed, goose's time stamps, which have
// no zone, mean UTC, and the commit has been written to disk when it returns.
func inTransaction(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	transaction, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() { _ = transaction.Rollback() }() // without effect after the commit
	_, err = transaction.ExecContext(ctx, `
		SELECT set_config('search_path', concat_ws(', ', 'public', (
				SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
				WHERE extname = 'timescaledb')), true),
			set_config('TimeZone', 'UTC', true), set_config('synchronous_commit', 'on', true)`)
	if err != nil {
		return fmt.Errorf("set up a transaction: %w", err)
	}
	if err := work(transaction); err != nil {
		return err
	}
	if err := transaction.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// whileLocked is inTransaction for one process at a time: the transaction holds
// the lock of Up, and with it the lock ends, however it ends. While another
// process has the lock, it waits until ctx ends.
func whileLocked(ctx context.Context, db *sql.DB, logger *slog.Logger, work func(*sql.Tx) error) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	notice := time.After(lockNotice)
	for {
		var locked bool
		err := inTransaction(ctx, db, func(transaction *sql.Tx) error {
			err := transaction.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(lockKey)).Scan(&locked)
			if err != nil {
				return fmt.Errorf("lock the schema for migration: %w", err)
			}
			if !locked {
				return nil
			}
			return work(transaction)
		})
		if err != nil || locked {
			return err
		}
		select {
		case <-tick.C:
		case <-notice:
			logger.WarnContext(ctx, "another process is migrating the schema: waiting for it", "waited", lockNotice)
		case <-ctx.Done():
			return fmt.Errorf("another process is migrating the schema and has not finished: %w", ctx.Err())
		}
	}
}
