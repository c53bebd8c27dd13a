package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// lockKey is the advisory lock that one run of Up holds: "tracklan" in ASCII.
const lockKey = 0x747261636b6c616e

// lockPoll is how often a waiting Up looks whether the lock is free. Waiting
// inside pg_advisory_lock would be a statement that never ends to PostgreSQL,
// which CREATE INDEX CONCURRENTLY waits for: a deadlock if the holder runs one.
const lockPoll = 100 * time.Millisecond

// open returns a pool of a single connection to databaseURL, set up for this
// package's statements and connected.
func open(ctx context.Context, databaseURL string) (*sql.DB, error) {
	return openWith(ctx, databaseURL, prepareSession)
}

// openLocked is like open, and its connection holds the lock of Up until it is
// closed or lost. The lock is taken as a part of connecting, so that a
// connection which replaces a lost one has it as well.
func openLocked(ctx context.Context, databaseURL string) (*sql.DB, error) {
	return openWith(ctx, databaseURL, func(connecting context.Context, connection *pgx.Conn) error {
		if err := prepareSession(connecting, connection); err != nil {
			return err
		}
		return lock(ctx, connection)
	})
}

func openWith(ctx context.Context, databaseURL string, afterConnect func(context.Context, *pgx.Conn) error) (*sql.DB, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		// pgx's own error may quote the password.
		return nil, errors.New("the database's URL (not shown) cannot be read: it must be a PostgreSQL URL " +
			"such as postgres://user:password@host:5432/database, special characters of the password percent-encoded")
	}
	// Each statement runs once, so preparing it would only be in a pooler's way.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(afterConnect))
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return db, nil
}

// prepareSession makes the tables land in public whatever the role's
// search_path is, and goose's time stamps, which have no zone, mean UTC.
func prepareSession(ctx context.Context, connection *pgx.Conn) error {
	_, err := connection.Exec(ctx, `SELECT set_config('search_path', 'public', false), set_config('TimeZone', 'UTC', false)`)
	if err != nil {
		return fmt.Errorf("set up the session: %w", err)
	}
	return nil
}

func lock(ctx context.Context, connection *pgx.Conn) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		var locked bool
		if err := connection.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockKey)).Scan(&locked); err != nil {
			return fmt.Errorf("lock the schema for migration: %w", err)
		}
		if locked {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("another process is migrating the schema and has not finished: %w", ctx.Err())
		}
	}
}

// inTransaction runs work in a transaction, and commits when it returns nil.
func inTransaction(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	transaction, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer transaction.Rollback() // without effect after the commit
	if err := work(transaction); err != nil {
		return err
	}
	if err := transaction.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
