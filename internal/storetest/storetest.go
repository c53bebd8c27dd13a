// Package storetest gives tests a database with the lanes' tables.
package storetest

import (
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"tracklane/migrations"
	"tracklane/store"
)

// maxConns is how many connections a pool has at the most: enough for tests of
// concurrent writers, few enough for many tests at once.
const maxConns = 10

// OpenMigrated migrates the database at a URL and returns connections to it,
// which are closed with t.
func OpenMigrated(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	require.NoError(t, migrations.Up(t.Context(), databaseURL, nil, slog.New(slog.DiscardHandler)))
	return Open(t, databaseURL)
}

// Open returns connections to the database at a URL, which are closed with t.
// The database may be down.
func Open(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(databaseURL)
	require.NoError(t, err)
	config.MaxConns = maxConns
	pool, err := store.Open(config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
