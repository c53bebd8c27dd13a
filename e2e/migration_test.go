package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/config"
	"tracklane/internal/postgres"
	"tracklane/migrations"
)

func TestWorker_WritesWhileTheMigrationIsLocked(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	require.NoError(t, migrations.Up(t.Context(), database, nil, slog.New(slog.DiscardHandler)))
	pool := openDatabase(t, database)
	holder, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer holder.Release()
	_, err = holder.Exec(t.Context(), `SELECT pg_advisory_lock(x'747261636b6c616e'::bigint)`) // that of migrations
	require.NoError(t, err)

	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	posted := postJSON(t, s.url+"/live", flight("held", 3))
	require.Equal(t, 202, posted.code, posted.text)
	requireRows(t, pool, 3, `SELECT count(*) FROM live_track_points`)
	s.stop()
}

func TestRun_RefusesADatabaseThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	pool := openDatabase(t, servers.Database(t))
	_, err := pool.Exec(t.Context(), `CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	require.NoError(t, err)
	defer func() {
		_, err := pool.Exec(context.Background(), `DROP DATABASE latin WITH (FORCE)`)
		assert.NoError(t, err)
	}()
	connection := pool.Config().ConnConfig
	url := fmt.Sprintf("host=%s port=%d user=%s dbname=latin sslmode=disable", connection.Host, connection.Port, connection.User)
	for _, migrate := range []string{"true", "false"} {
		t.Run("MIGRATE_ON_START="+migrate, func(t *testing.T) {
			c, err := config.Load(slices.Concat(settings, []string{"REDIS_URL=redis://127.0.0.1:1", "MIGRATE_ON_START=" + migrate,
				"DATABASE_URL=" + url}))
			require.NoError(t, err)
			p, err := app.New(c, app.Roles{API: true, Worker: true}, version, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err = p.Run(ctx)
			require.ErrorIs(t, err, postgres.ErrEncoding)
			assert.Contains(t, err.Error(), "LATIN1")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}
