package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Status is what a database has of the schema.
type Status struct {
	// Migrations lists all that this program knows, in the order of versions.
	Migrations []Migration

	// TimescaleDB is what the database has of the extension.
	TimescaleDB TimescaleDB

	// Hypertables and PlainTables list the tables of points that are there.
	Hypertables []string
	PlainTables []string

	// Advice says in words, one thing to do after the other, what is left to do.
	// It is empty when nothing is.
	Advice []string
}

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string

	// AppliedAt is in UTC, and zero while the migration is pending.
	AppliedAt time.Time
}

// ReadStatus reads what the database at databaseURL has. It changes nothing, takes
// no lock of its own and works on an empty database.
//
// The error is that of parsing databaseURL, of connecting, the context's, or the
// *pgconn.PgError of a query that failed, each wrapped with what was read. It
// never holds a password of databaseURL.
func ReadStatus(ctx context.Context, databaseURL string) (Status, error) {
	db, err := open(ctx, databaseURL)
	if err != nil {
		return Status{}, err
	}
	defer db.Close()

	var status Status
	err = inTransaction(ctx, db, func(transaction *sql.Tx) error {
		status, err = readStatus(ctx, transaction)
		return err
	})
	return status, err
}

func readStatus(ctx context.Context, transaction *sql.Tx) (status Status, err error) {
	if status.Migrations, err = readMigrations(ctx, transaction); err != nil {
		return Status{}, err
	}
	if status.TimescaleDB, err = findExtension(ctx, transaction); err != nil {
		return Status{}, err
	}
	isHypertable := map[string]bool{}
	if status.TimescaleDB.Installed != "" {
		if isHypertable, err = existingHypertables(ctx, transaction); err != nil {
			return Status{}, err
		}
	}
	var filled []hypertable // plain tables that hold points
	for _, h := range hypertables() {
		if isHypertable[h.table] {
			status.Hypertables = append(status.Hypertables, h.table)
			continue
		}
		exists, err := tableExists(ctx, transaction, h.table)
		if err != nil {
			return Status{}, err
		}
		if !exists {
			continue
		}
		status.PlainTables = append(status.PlainTables, h.table)
		empty, err := isEmpty(ctx, transaction, h.table)
		if err != nil {
			return Status{}, fmt.Errorf("look into %s: %w", h.table, err)
		}
		if !empty {
			filled = append(filled, h)
		}
	}
	status.Advice = status.advise(filled)
	return status, nil
}

// readMigrations lists the migrations. It does not make the table of versions.
func readMigrations(ctx context.Context, transaction *sql.Tx) ([]Migration, error) {
	list, err := sources()
	if err != nil {
		return nil, err
	}
	versioned, err := tableExists(ctx, transaction, versionTable)
	if err != nil {
		return nil, err
	}
	versions, err := versionStore()
	if err != nil {
		return nil, err
	}
	var migrations []Migration
	for _, s := range list {
		m := Migration{Version: s.version, Name: s.name}
		if versioned {
			if m.AppliedAt, _, err = appliedAt(ctx, transaction, versions, s.version); err != nil {
				return nil, err
			}
		}
		migrations = append(migrations, m)
	}
	return migrations, nil
}

func tableExists(ctx context.Context, transaction *sql.Tx, table string) (bool, error) {
	var exists bool
	if err := transaction.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for table %s: %w", table, err)
	}
	return exists, nil
}

// advise says what is left to do; filled are the plain tables with points.
func (s Status) advise(filled []hypertable) []string {
	var advice []string
	pending := 0
	for _, m := range s.Migrations {
		if m.AppliedAt.IsZero() {
			pending++
		}
	}
	if pending > 0 {
		advice = append(advice, fmt.Sprintf("%d of %d migrations are pending: run `tracklane migrate up`.",
			pending, len(s.Migrations)))
	}
	switch extension := s.TimescaleDB; {
	case extension.Installed == "" && extension.Available == "":
		return advice
	case extension.Installed == "":
		advice = append(advice, fmt.Sprintf("The server has TimescaleDB %s and this database does not use it: run "+
			"`tracklane migrate up`. If its log says that TimescaleDB cannot be created, have a superuser run "+
			"`CREATE EXTENSION timescaledb;` in this database first (the server needs "+
			"shared_preload_libraries = 'timescaledb' for it).", extension.Available))
	case len(s.PlainTables) > len(filled) && pending == 0:
		advice = append(advice, "This database has TimescaleDB and empty tables that are not hypertables yet: run `tracklane migrate up`.")
	}
	if len(filled) == 0 {
		return advice
	}
	tables, statements := make([]string, len(filled)), make([]string, len(filled))
	for i, h := range filled {
		tables[i], statements[i] = h.table, h.createStatement(true)+";"
	}
	if s.TimescaleDB.Installed == "" {
		return append(advice, "Then look at `tracklane migrate status` again: tables with points in them ("+
			strings.Join(tables, ", ")+") take one more step.")
	}
	return append(advice, "TimescaleDB came after points were stored, so these tables are still plain: "+strings.Join(tables, ", ")+
		". Each statement below makes one a hypertable by moving its points. It locks the table until it is done, "+
		"which takes long for many points, and needs free disk space of the table's size; meanwhile accepted points "+
		"wait in Redis. Run in psql, one at a time:\n"+strings.Join(statements, "\n")+
		"\nAfterwards run `tracklane migrate up`, which sets compression and retention.")
}
