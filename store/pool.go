// Package store writes points into PostgreSQL or TimescaleDB.
package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/postgres"
)

// connectTimeout bounds the making of one connection, so that a server that
// accepts and stays silent costs a caller no more than this.
const connectTimeout = 5 * time.Second

// Open returns a pool of connections as config says. It does not connect: a
// database that is down is found out by the first query, and one that comes
// back is used by the next. It changes config.
//
// A query to a database that is not encoded in UTF-8 gives a
// postgres.ErrEncoding.
func Open(config *pgxpool.Config) (*pgxpool.Pool, error) {
	config.ConnConfig.ConnectTimeout = connectTimeout
	postgres.Configure(config.ConnConfig)
	config.AfterConnect = func(_ context.Context, connection *pgx.Conn) error {
		return postgres.CheckEncoding(connection)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("open the pool of database connections: %w", err)
	}
	return pool, nil
}
