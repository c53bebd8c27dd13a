package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
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

// ReadStatus tells what the database at databaseURL has. It changes nothing, takes no
// lock and works on an empty database.
//
// Errors never hold a password of databaseURL.
func ReadStatus(ctx context.Context, databaseURL string) (Status, error) {
	db, err := open(ctx, databaseURL)
	if err != nil {
		return Status{}, err
	}
	defer db.Close()

	var status Status
	if status.Migrations, err = readMigrations(ctx, db); err != nil {
		return Status{}, err
	}
	if status.TimescaleDB, err = findExtension(ctx, db); err != nil {
		return Status{}, err
	}
	isHypertable := map[string]bool{}
	if status.TimescaleDB.Installed != "" {
		if isHypertable, err = existingHypertables(ctx, db); err != nil {
			return Status{}, err
		}
	}
	var filled []hypertable // plain tables that hold points
	for _, h := range hypertables() {
		if isHypertable[h.table] {
			status.Hypertables = append(status.Hypertables, h.table)
			continue
		}
		exists, err := tableExists(ctx, db, h.table)
		if err != nil {
			return Status{}, err
		}
		if !exists {
			continue
		}
		status.PlainTables = append(status.PlainTables, h.table)
		empty, err := isEmpty(ctx, db, h.table)
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

// readMigrations lists the migrations. Goose's own status would create its
// table in an empty database, so it is asked only when that is there.
func readMigrations(ctx context.Context, db *sql.DB) ([]Migration, error) {
	provider, err := newProvider(db)
	if err != nil {
		return nil, err
	}
	var migrations []Migration
	versioned, err := tableExists(ctx, db, versionTable)
	if err != nil {
		return nil, err
	}
	if !versioned {
		for _, source := range provider.ListSources() {
			migrations = append(migrations, Migration{Version: source.Version, Name: name(source)})
		}
		return migrations, nil
	}
	steps, err := provider.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("list applied migrations: %w", err)
	}
	for _, step := range steps {
		m := Migration{Version: step.Source.Version, Name: name(step.Source)}
		if step.State == goose.StateApplied {
			m.AppliedAt = step.AppliedAt.UTC()
		}
		migrations = append(migrations, m)
	}
	return migrations, nil
}

// name is a migration's file name without version and ending.
func name(source *goose.Source) string {
	_, name, _ := strings.Cut(strings.TrimSuffix(path.Base(source.Path), ".sql"), "_")
	return name
}

func tableExists(ctx context.Context, db *sql.DB, table string) (bool, error) {
	var exists bool
	if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&exists); err != nil {
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
