package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"tracklane/internal/clock"
)

// commit is a transaction that wrote rows into a table.
type commit struct {
	At   time.Time
	Rows int
}

// commits returns the transactions whose rows a table holds, the earliest
// first. PostgreSQL noted the times, so they are exact however rarely anybody
// looked.
func (s *system) commits(ctx context.Context, table string) ([]commit, error) {
	rows, err := s.pool.Query(ctx, `SELECT pg_xact_commit_timestamp(id) AS at, rows
		FROM (SELECT xmin AS id, count(*) AS rows FROM `+pgx.Identifier{table}.Sanitize()+` GROUP BY xmin) AS written`)
	if err != nil {
		return nil, fmt.Errorf("read when %s was written: %w", table, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[commit])
	if err != nil {
		return nil, fmt.Errorf("read when %s was written: %w", table, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s is empty", table)
	}
	slices.SortFunc(found, func(a, b commit) int { return a.At.Compare(b.At) })
	return found, nil
}

// rate is how many rows a second were committed after the first commit, until
// there were so many rows.
func rate(commits []commit, rows int) float64 {
	written := 0
	for _, c := range commits[1:] {
		written += c.Rows
		if written+commits[0].Rows >= rows {
			return float64(written) / c.At.Sub(commits[0].At).Seconds()
		}
	}
	return 0
}

// waitForRows waits until a table holds so many rows, and returns its commits.
func (s *system) waitForRows(ctx context.Context, table string, rows int) ([]commit, error) {
	waiting, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for stored := 0; ; {
		err := s.pool.QueryRow(waiting, `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()).Scan(&stored)
		if err == nil && stored >= rows {
			return s.commits(ctx, table)
		}
		if !clock.Sleep(waiting, countInterval) {
			return nil, fmt.Errorf("%s holds %d of %d rows: %w", table, stored, rows, errors.Join(context.Cause(waiting), err))
		}
	}
}
