package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// Database looks at the database that points are written to. Any number of
// goroutines may use one at the same time.
type Database struct {
	pool   *pgxpool.Pool
	tables []string
}

// NewDatabase returns a view of the database that holds the lanes' tables.
func NewDatabase(pool *pgxpool.Pool, lanes []*lane.Lane) *Database {
	d := &Database{pool: pool}
	for _, l := range lanes {
		d.tables = append(d.tables, l.Table)
	}
	return d
}

// DatabaseStatus is what Check found.
type DatabaseStatus struct {
	TimescaleDB bool // the extension is installed
	Writable    bool // it accepts writes, and this role may insert into every lane's table
	Rejected    bool // the dead-letter table, rejected_points, holds some

	// NoSync: its fsync is off, so that it may lose what it committed, or all of
	// its data, when its machine fails.
	NoSync bool

	// NoRejects: the dead-letter table is there, but this role may not put
	// points into it.
	NoRejects bool

	// NoFlights: points can be written, but the directory of flights is missing, or
	// this role may not read it and add to it.
	NoFlights bool
}

// Check asks the database how it is; an error means that it cannot be asked.
func (d *Database) Check(ctx context.Context) (DatabaseStatus, error) {
	var s DatabaseStatus
	var rejects *bool
	err := d.pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb'),
			current_setting('fsync') = 'off',
			current_setting('transaction_read_only') = 'off'
				AND (SELECT bool_and(coalesce(has_table_privilege(to_regclass(name), 'INSERT'), false)) FROM unnest($1::text[]) AS name),
			has_table_privilege(to_regclass('rejected_points'), 'SELECT')
				AND has_table_privilege(to_regclass('rejected_points'), 'INSERT'),
			NOT coalesce(has_table_privilege(to_regclass('flights'), 'SELECT')
				AND has_table_privilege(to_regclass('flights'), 'INSERT'), false)`,
		d.tables).Scan(&s.TimescaleDB, &s.NoSync, &s.Writable, &rejects, &s.NoFlights)
	if err != nil {
		return DatabaseStatus{}, fmt.Errorf("ask the database how it is: %w", err)
	}
	s.NoFlights = s.NoFlights && s.Writable
	if rejects == nil {
		return s, nil // not migrated yet
	}
	if s.NoRejects = !*rejects; s.NoRejects {
		return s, nil // it may not look either
	}
	if err := d.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM rejected_points)`).Scan(&s.Rejected); err != nil {
		return DatabaseStatus{}, fmt.Errorf("look for rejected points: %w", err)
	}
	return s, nil
}

// Stat returns the statistics of the pool of connections.
func (d *Database) Stat() *pgxpool.Stat { return d.pool.Stat() }
