package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tracklane/internal/config"
	"tracklane/internal/lane"
	"tracklane/internal/postgres"
	"tracklane/migrations"
	"tracklane/store"
)

// Migrate brings the schema of the configured database up to date, with the
// configured ages at which chunks are compressed and dropped. Processes that
// migrate at the same time wait for each other.
func Migrate(ctx context.Context, c config.Config, logger *slog.Logger) error {
	policies := make(map[string]migrations.Policy)
	for _, l := range lane.All(lane.Options{}) {
		own := c.Lanes[l.Name]
		policies[l.Table] = migrations.Policy{CompressAfter: own.CompressAfter, RetainFor: own.Retention}
	}
	return migrations.Up(ctx, c.DatabaseURL, policies, logger)
}

// migrationInterval is how long a database that is down is left alone between two
// tries to migrate it.
const migrationInterval = time.Second

// migrationPatience is how long the migration may take, as when another process
// holds its lock, before points are written to the tables that exist.
const migrationPatience = 5 * time.Second

// startMigration migrates in the background if MIGRATE_ON_START says so. The
// channel is closed when there are tables to write to.
func (p *Program) startMigration(r *run) (migrated <-chan struct{}) {
	done := make(chan struct{})
	tablesExist := sync.OnceFunc(func() { close(done) })
	r.parts.Go(func() {
		defer tablesExist()
		if p.config.MigrateOnStart {
			waiting, migrated := context.WithCancel(r.ctx)
			defer migrated()
			r.parts.Go(func() { p.useOldTables(waiting, tablesExist) })
			p.migrate(r, tablesExist)
		} else if _, err := store.NewDatabase(p.pool, p.lanes).Check(r.ctx); errors.Is(err, postgres.ErrEncoding) {
			r.fail(err)
		}
	})
	return done
}

// migrate brings the schema up to date as soon as the database can be reached. It
// calls tablesExist early if points can be written although the schema cannot be
// changed, as when the database's user may not do that. A database that is not
// encoded in UTF-8 ends the run.
func (p *Program) migrate(r *run, tablesExist func()) {
	ctx := r.ctx
	database := store.NewDatabase(p.pool, p.lanes)
	reported := false
	for {
		err := Migrate(ctx, p.config, p.logger)
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		if errors.Is(err, postgres.ErrEncoding) {
			r.fail(err)
			return
		}
		if !reported {
			reported = true
			p.logger.Warn("the schema cannot be migrated yet; trying again until it can", "error", err)
		}
		if status, err := database.Check(ctx); err == nil && status.Writable {
			tablesExist()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(migrationInterval):
		}
	}
}

// useOldTables calls tablesExist once there are tables to write to, if the
// migration has not come to an end by then: it may be waiting for another process
// or behind a long transaction, and goes on. It returns when ctx ends, too.
func (p *Program) useOldTables(ctx context.Context, tablesExist func()) {
	database := store.NewDatabase(p.pool, p.lanes)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(migrationPatience):
		}
		if status, err := database.Check(ctx); err == nil && status.Writable {
			p.logger.Warn("the schema is still being migrated; points are written to the tables that exist", "waited", migrationPatience)
			tablesExist()
			return
		}
	}
}
