package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// TimescaleDB is what a database has of the extension.
type TimescaleDB struct {
	// Available is the version that the server can create, or empty.
	Available string

	// Installed is the version that the database has, or empty.
	Installed string

	// Apache tells that the server's licence setting leaves only what is under
	// the Apache licence: hypertables, no compression and no policies.
	Apache bool
}

// createExtension creates the extension where the server has it and the role
// may. It has a transaction of its own, since a refusal ends the transaction,
// or even the connection.
func createExtension(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	var refused string
	err := whileLocked(ctx, db, logger, func(transaction *sql.Tx) error {
		extension, err := findExtension(ctx, transaction)
		if err != nil || extension.Installed != "" {
			return err
		}
		if extension.Available == "" {
			logger.InfoContext(ctx, "the server has no TimescaleDB: tables are plain")
			return nil
		}
		if _, err := transaction.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS timescaledb"); err != nil {
			refused, _ = refusal(err)
			return fmt.Errorf("create the extension timescaledb: %w", err)
		}
		logger.InfoContext(ctx, "extension created", "extension", "timescaledb", "version", extension.Available)
		return nil
	})
	if refused != "" {
		logger.WarnContext(ctx, "TimescaleDB cannot be created: tables are plain; `tracklane migrate status` says what to do",
			"error", refused)
		return nil
	}
	return err
}

// createHypertables makes hypertables of the tables that are empty.
func createHypertables(ctx context.Context, transaction *sql.Tx, logger *slog.Logger) error {
	exist, err := existingHypertables(ctx, transaction)
	if err != nil {
		return err
	}
	for _, h := range hypertables() {
		if exist[h.table] {
			continue
		}
		if err := h.create(ctx, transaction, logger); err != nil {
			return err
		}
	}
	return nil
}

// applyPolicies allows the chunks of each hypertable to be compressed and sets
// its policies, in a transaction for each: points may come in meanwhile.
func applyPolicies(ctx context.Context, db *sql.DB, extension TimescaleDB, policies map[string]Policy, logger *slog.Logger) error {
	if extension.Apache {
		logger.WarnContext(ctx, "timescaledb.license is apache: chunks are neither compressed nor dropped by age")
		return nil
	}
	for _, h := range hypertables() {
		err := whileLocked(ctx, db, logger, func(transaction *sql.Tx) error {
			exist, err := existingHypertables(ctx, transaction)
			if err != nil || !exist[h.table] {
				return err
			}
			if err := h.allowCompression(ctx, transaction); err != nil {
				return err
			}
			policy := policies[h.table]
			if err := compression().set(ctx, transaction, h.table, policy.CompressAfter, logger); err != nil {
				return err
			}
			return retention().set(ctx, transaction, h.table, policy.RetainFor, logger)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refusal reports whether err is the server's refusal to create the extension,
// such as for a missing privilege or because the library is not preloaded. A
// server that is stopping or out of something would not refuse at another time.
func refusal(err error) (reason string, refused bool) {
	var postgres *pgconn.PgError
	if !errors.As(err, &postgres) ||
		pgerrcode.IsOperatorIntervention(postgres.Code) || pgerrcode.IsInsufficientResources(postgres.Code) {
		return "", false
	}
	return postgres.Message, true
}

func findExtension(ctx context.Context, transaction *sql.Tx) (TimescaleDB, error) {
	var found TimescaleDB
	err := transaction.QueryRowContext(ctx, `
		SELECT coalesce((SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'), ''),
		       coalesce((SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), ''),
		       coalesce(current_setting('timescaledb.license', true), '') = 'apache'`).
		Scan(&found.Available, &found.Installed, &found.Apache)
	if err != nil {
		return TimescaleDB{}, fmt.Errorf("look for TimescaleDB: %w", err)
	}
	return found, nil
}

// existingHypertables is the set of tables in public that are hypertables. The
// extension has to be there.
func existingHypertables(ctx context.Context, transaction *sql.Tx) (map[string]bool, error) {
	tables := map[string]bool{}
	rows, err := transaction.QueryContext(ctx, `
		SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public'`)
	if err != nil {
		return nil, fmt.Errorf("list hypertables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return nil, fmt.Errorf("list hypertables: %w", err)
		}
		tables[table] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list hypertables: %w", err)
	}
	return tables, nil
}
