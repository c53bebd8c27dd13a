// Package migrations makes and describes tracklane's tables: SQL files that
// goose applies once each, then TimescaleDB's hypertables, compression and
// retention, which depend on the server and on configuration and are brought up
// to date on every run.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"path"

	"github.com/pressly/goose/v3"
)

// The files have no way down: it would drop points, and nobody has asked for
// that.
//
//go:embed sql/*.sql
var files embed.FS

// versionTable is where goose notes what it has applied.
const versionTable = "public.goose_db_version"

// Up brings the schema public of the database at databaseURL up to date:
// applies the pending migrations, turns empty tables into hypertables where
// TimescaleDB can be had, and sets policies, by name of the table. A table that
// policies does not name gets Policy{}: never compressed, never dropped from.
//
// Where TimescaleDB is missing, may not be created by this role, or came after
// points were stored, the tables stay plain and logger says so; ReadStatus
// says what to do about it.
//
// Up is safe to call again, and from many processes at once: one works and the
// others wait, until ctx ends, so ctx should have a deadline. A process that
// dies holds nobody up. A connection pooler between here and the database has
// to be in session mode.
//
// Errors never hold a password of databaseURL.
func Up(ctx context.Context, databaseURL string, policies map[string]Policy, logger *slog.Logger) error {
	if err := checkPolicies(policies); err != nil {
		return err
	}
	db, err := openLocked(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()

	if err := applyFiles(ctx, db, logger); err != nil {
		return err
	}
	return applyTimescaleDB(ctx, db, policies, logger)
}

// applyFiles applies the SQL files that the database does not have yet.
func applyFiles(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("apply migrations: %w", err)
	}
	for _, m := range applied {
		logger.InfoContext(ctx, "migration applied",
			"version", m.Source.Version, "name", path.Base(m.Source.Path), "took", m.Duration)
	}
	return nil
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	folder, err := fs.Sub(files, "sql")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, folder,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return provider, nil
}
