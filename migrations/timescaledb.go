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

// applyTimescaleDB sets up what TimescaleDB adds to the tables, where it can.
func applyTimescaleDB(ctx context.Context, db *sql.DB, policies map[string]Policy, logger *slog.Logger) error {
	extension, err := createExtension(ctx, db, logger)
	if err != nil || extension.Installed == "" {
		return err
	}
	if extension.Apache {
		logger.WarnContext(ctx, "timescaledb.license is apache: chunks are neither compressed nor dropped by age")
	}
	tables, err := existingHypertables(ctx, db)
	if err != nil {
		return err
	}
	for _, h := range hypertables() {
		if !tables[h.table] {
			if done, err := h.create(ctx, db, logger); err != nil {
				return err
			} else if !done {
				continue
			}
		}
		if extension.Apache {
			continue
		}
		if err := h.allowCompression(ctx, db); err != nil {
			return err
		}
		policy := policies[h.table]
		if err := compression().set(ctx, db, h.table, policy.CompressAfter, logger); err != nil {
			return err
		}
		if err := retention().set(ctx, db, h.table, policy.RetainFor, logger); err != nil {
			return err
		}
	}
	return nil
}

// createExtension creates the extension where the server has it and the role
// may, and makes its functions visible.
func createExtension(ctx context.Context, db *sql.DB, logger *slog.Logger) (TimescaleDB, error) {
	extension, err := findExtension(ctx, db)
	if err != nil {
		return TimescaleDB{}, err
	}
	if extension.Available == "" && extension.Installed == "" {
		logger.InfoContext(ctx, "the server has no TimescaleDB: tables are plain")
		return extension, nil
	}
	if extension.Installed == "" {
		_, err := db.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS timescaledb")
		if reason, refused := refusal(err); refused {
			logger.WarnContext(ctx, "TimescaleDB cannot be created: tables are plain; `tracklane migrate status` says what to do",
				"error", reason)
			return extension, nil
		}
		if err != nil {
			return TimescaleDB{}, fmt.Errorf("create the extension timescaledb: %w", err)
		}
		if extension, err = findExtension(ctx, db); err != nil {
			return TimescaleDB{}, err
		}
		logger.InfoContext(ctx, "extension created", "extension", "timescaledb", "version", extension.Installed)
	}

	_, err = db.ExecContext(ctx, `
		SELECT set_config('search_path', 'public, ' || quote_ident(nspname), false)
		FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'timescaledb'`)
	if err != nil {
		return TimescaleDB{}, fmt.Errorf("make TimescaleDB's functions visible: %w", err)
	}
	return extension, nil
}

// refusal tells whether err is the server's refusal to create the extension,
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

func findExtension(ctx context.Context, db *sql.DB) (TimescaleDB, error) {
	var found TimescaleDB
	err := db.QueryRowContext(ctx, `
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
func existingHypertables(ctx context.Context, db *sql.DB) (map[string]bool, error) {
	tables := map[string]bool{}
	rows, err := db.QueryContext(ctx, `
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
