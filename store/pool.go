// Package store writes points into PostgreSQL or TimescaleDB.
package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTimeout bounds the making of one connection, so that a server that
// accepts and stays silent costs a caller no more than this.
const connectTimeout = 5 * time.Second

// Open returns a pool of connections as config says. It does not connect: a
// database that is down is found out by the first query, and one that comes
// back is used by the next. It changes config.
func Open(config *pgxpool.Config) (*pgxpool.Pool, error) {
	config.ConnConfig.ConnectTimeout = connectTimeout
	parameters := config.ConnConfig.RuntimeParams
	if parameters["application_name"] == "" {
		parameters["application_name"] = "tracklane"
	}
	// Late flights reach into compressed chunks: TimescaleDB before 2.22 stops
	// a statement there that has to look at more rows than this says. Without
	// TimescaleDB nothing reads it.
	parameters["timescaledb.max_tuples_decompressed_per_dml_transaction"] = "0"
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("open the pool of database connections: %w", err)
	}
	return pool, nil
}
