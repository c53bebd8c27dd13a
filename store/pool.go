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

// Open returns a pool of at most maxConnections connections to the database.
// It does not connect: a database that is away is found out by the first
// query, and one that comes back is used by the next.
//
// The error never holds databaseURL, which may hold a password.
func Open(databaseURL string, maxConnections int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read DATABASE_URL: %w", err)
	}
	config.MaxConns = int32(maxConnections)
	config.ConnConfig.ConnectTimeout = connectTimeout
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "tracklane"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("open the pool of database connections: %w", err)
	}
	return pool, nil
}
