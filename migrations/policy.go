package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Policy says at what age TimescaleDB compresses and drops the chunks of a
// table. The age is of the points' own time, to the microsecond.
type Policy struct {
	// CompressAfter is when a chunk is compressed; 0 = never.
	CompressAfter time.Duration

	// RetainFor is when a chunk is dropped with its points; 0 = never.
	RetainFor time.Duration
}

// checkPolicies finds names of no table and ages below 0.
func checkPolicies(policies map[string]Policy) error {
	for table, policy := range policies {
		if !slices.ContainsFunc(hypertables(), func(h hypertable) bool { return h.table == table }) {
			return fmt.Errorf("policy for %q: no such table of points", table)
		}
		if policy.CompressAfter < 0 || policy.RetainFor < 0 {
			return fmt.Errorf("policy for %s: an age is below 0", table)
		}
	}
	return nil
}

// job is a kind of policy as TimescaleDB knows it: a background job that finds
// the age in its configuration.
type job struct {
	procedure string // in timescaledb_information.jobs
	age       string // in its configuration
	add       string // takes the table and the interval
	remove    string // takes the table
}

func compression() job {
	return job{
		procedure: "policy_compression", age: "compress_after",
		add:    "SELECT add_compression_policy($1::regclass, $2::interval)",
		remove: "SELECT remove_compression_policy($1::regclass, if_exists => true)",
	}
}

func retention() job {
	return job{
		procedure: "policy_retention", age: "drop_after",
		add:    "SELECT add_retention_policy($1::regclass, $2::interval)",
		remove: "SELECT remove_retention_policy($1::regclass, if_exists => true)",
	}
}

// set gives table's job this age, or removes it when the age is 0. A job that
// has the age already is left alone, with its schedule and history.
func (j job) set(ctx context.Context, transaction *sql.Tx, table string, age time.Duration, logger *slog.Logger) error {
	interval := fmt.Sprintf("%d microseconds", age.Microseconds())
	upToDate, err := j.has(ctx, transaction, table, interval, age > 0)
	if err == nil && !upToDate {
		_, err = transaction.ExecContext(ctx, j.remove, table)
	}
	if err == nil && !upToDate && age > 0 {
		_, err = transaction.ExecContext(ctx, j.add, table, interval)
	}
	if err != nil {
		return fmt.Errorf("set %s of %s to %s: %w", j.procedure, table, age, err)
	}
	if !upToDate {
		logger.InfoContext(ctx, "policy changed; 0s means never", "table", table, "policy", j.procedure, j.age, age)
	}
	return nil
}

// has reports whether table's job is as wanted: there with this age, or not there.
func (j job) has(ctx context.Context, transaction *sql.Tx, table, interval string, wanted bool) (bool, error) {
	var same bool
	err := transaction.QueryRowContext(ctx, `
		SELECT (config->>$3)::interval = $4::interval FROM timescaledb_information.jobs
		WHERE hypertable_schema = 'public' AND hypertable_name = $1 AND proc_name = $2`,
		table, j.procedure, j.age, interval).Scan(&same)
	if errors.Is(err, sql.ErrNoRows) {
		return !wanted, nil
	}
	return wanted && same, err
}
