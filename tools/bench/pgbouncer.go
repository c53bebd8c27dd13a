package main

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"

	"tracklane/internal/devservers"
)

// pooledConnections is how many connections to the database PgBouncer opens: as many as
// tracklane does.
const pooledConnections = 10

// throughPgBouncer runs the handler that inserts directly behind a PgBouncer, while do
// runs.
func (s *system) throughPgBouncer(ctx context.Context, do func(context.Context, *server) error) (err error) {
	pooler, err := devservers.StartPgBouncer(ctx, devservers.PgBouncerOptions{
		Dir: filepath.Join(s.Dir, "pgbouncer"), Database: s.Postgres.DSN(), PoolSize: pooledConnections,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pooler.Kill()) }()
	// Each transaction may have another connection, where what was prepared before is
	// not known.
	url := pooler.URL() + "&default_query_exec_mode=cache_describe&pool_max_conns=" + strconv.Itoa(saturation)
	return s.serveDirectInsert(ctx, url, func(ctx context.Context, p *server) error {
		p.beside = pooler.PID()
		return do(ctx, p)
	})
}
