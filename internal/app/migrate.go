package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tracklane/internal/config"
	"tracklane/internal/lane"
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

// startMigration migrates in the background if MIGRATE_ON_START says so. The
// channel is closed when there are tables to write to.
func (p *Program) startMigration(r *run) (migrated <-chan struct{}) {
	done := make(chan struct{})
	tablesExist := sync.OnceFunc(func() { close(done) })
	r.parts.Go(func() {
		defer tablesExist()
		if p.config.MigrateOnStart {
			p.migrate(r.ctx, tablesExist)
		}
	})
	return done
}

// migrate brings the schema up to date as soon as the database can be reached. It
// calls tablesExist early if points can be written although the schema cannot be
// changed, as when the database's user may not do that.
func (p *Program) migrate(ctx context.Context, tablesExist func()) {
	database := store.NewDatabase(p.pool, p.lanes)
	reported := false
	for {
		err := Migrate(ctx, p.config, p.logger)
		if err == nil || errors.Is(err, context.Canceled) {
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
