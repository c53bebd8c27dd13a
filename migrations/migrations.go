// Package migrations makes and describes tracklane's tables: SQL files that are
// applied once each, then TimescaleDB's hypertables, compression and retention,
// which depend on the server and on configuration and are brought up to date on
// every run.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// The files are in the format of goose. They have no way down: it would drop
// points, and nobody has asked for that. Each must run in a transaction.
//
//go:embed sql/*.sql
var files embed.FS

// versionTable is where goose notes what has been applied.
const versionTable = "public.goose_db_version"

// Up brings the schema public of the database at databaseURL up to date:
// applies the pending migrations, turns empty tables into hypertables where
// TimescaleDB can be had, and sets policies, by name of the table. A table that
// policies does not name gets Policy{}: never compressed, never dropped from.
//
// It looks at no points, so that a process may wait for it before it works: the
// flights of points that are older than the directory of flights are added to it
// by store.ListOlderFlights.
//
// Tables and hypertables are made in one transaction, so that no point can be
// written to a table before it is a hypertable.
//
// Where TimescaleDB is missing, may not be created by this role, or came after
// points were stored, the tables stay plain and logger says so; ReadStatus
// says what to do about it.
//
// Up is safe to call again, and from many processes at once: one works and the
// others wait, until ctx ends, and logger says so. A process that dies holds
// nobody up. It works through a connection pooler in transaction mode.
//
// A database that is not encoded in UTF-8 is a postgres.ErrEncoding. Errors
// never hold a password of databaseURL.
func Up(ctx context.Context, databaseURL string, policies map[string]Policy, logger *slog.Logger) error {
	if err := checkPolicies(policies); err != nil {
		return err
	}
	db, err := open(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()

	if err := createExtension(ctx, db, logger); err != nil {
		return err
	}
	var extension TimescaleDB
	err = whileLocked(ctx, db, logger, func(transaction *sql.Tx) error {
		if err := applyFiles(ctx, transaction, logger); err != nil {
			return err
		}
		if extension, err = findExtension(ctx, transaction); err != nil || extension.Installed == "" {
			return err
		}
		return createHypertables(ctx, transaction, logger)
	})
	if err != nil {
		return err
	}
	if extension.Installed != "" {
		return applyPolicies(ctx, db, extension, policies, logger)
	}
	return nil
}

// source is one of the SQL files.
type source struct {
	version    int64
	name       string // without version and ending
	statements string
}

// sources lists the SQL files in the order of their versions.
func sources() ([]source, error) {
	paths, err := fs.Glob(files, "sql/*.sql") // in order of their names
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	var list []source
	for _, file := range paths {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, fmt.Errorf("read the version of migration %s: %w", file, err)
		}
		content, err := files.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", file, err)
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(path.Base(file), ".sql"), "_")
		list = append(list, source{version, name, string(content)})
	}
	return list, nil
}

// applyFiles applies the SQL files that the database does not have yet, and
// notes them as goose does. Goose itself would commit each alone.
func applyFiles(ctx context.Context, transaction *sql.Tx, logger *slog.Logger) error {
	list, err := sources()
	if err != nil {
		return err
	}
	versions, err := versionStore()
	if err != nil {
		return err
	}
	if err := createVersionTable(ctx, transaction, versions); err != nil {
		return err
	}
	for _, s := range list {
		if _, applied, err := appliedAt(ctx, transaction, versions, s.version); err != nil {
			return err
		} else if applied {
			continue
		}
		start := time.Now()
		if _, err := transaction.ExecContext(ctx, s.statements); err != nil {
			return fmt.Errorf("apply migration %d %s: %w", s.version, s.name, err)
		}
		if err := versions.Insert(ctx, transaction, database.InsertRequest{Version: s.version}); err != nil {
			return fmt.Errorf("note migration %d %s: %w", s.version, s.name, err)
		}
		logger.InfoContext(ctx, "migration applied", "version", s.version, "name", s.name, "took", time.Since(start))
	}
	return nil
}

// versionStore reads and writes goose's table of versions.
func versionStore() (database.Store, error) {
	versions, err := database.NewStore(database.DialectPostgres, versionTable)
	if err != nil {
		return nil, fmt.Errorf("open the table of versions: %w", err)
	}
	return versions, nil
}

// keepVersions leaves the table of versions to its owner: default privileges may
// have given other roles those of a table of points, and whoever adds a version
// keeps its migration from being applied. They may still read it.
const keepVersions = `
	DO $$
	DECLARE
		role name;
	BEGIN
		FOR role IN
			SELECT DISTINCT pg_get_userbyid(granted.grantee)
			FROM pg_class, aclexplode(relacl) AS granted
			WHERE pg_class.oid = '` + versionTable + `'::regclass AND granted.grantee NOT IN (0, relowner)
		LOOP
			EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ` + versionTable + ` FROM %I', role);
		END LOOP;
	END $$`

// createVersionTable creates the table of versions unless it exists.
func createVersionTable(ctx context.Context, transaction *sql.Tx, versions database.Store) error {
	if exists, err := tableExists(ctx, transaction, versionTable); err != nil || exists {
		return err
	}
	err := versions.CreateVersionTable(ctx, transaction)
	if err == nil {
		// Goose wants this row in its table.
		err = versions.Insert(ctx, transaction, database.InsertRequest{Version: 0})
	}
	if err == nil {
		_, err = transaction.ExecContext(ctx, keepVersions)
	}
	if err != nil {
		return fmt.Errorf("create the table of versions: %w", err)
	}
	return nil
}

// appliedAt returns when a version was applied, in UTC, or false.
func appliedAt(ctx context.Context, transaction *sql.Tx, versions database.Store, version int64) (time.Time, bool, error) {
	found, err := versions.GetMigration(ctx, transaction, version)
	if errors.Is(err, database.ErrVersionNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look for migration %d: %w", version, err)
	}
	return found.Timestamp.UTC(), found.IsApplied, nil
}
