package store

import (
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

func TestWriter_FollowsThePrimaryToItsStandby(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, primary *devservers.Postgres){
		"killed": func(t *testing.T, primary *devservers.Postgres) { require.NoError(t, primary.Kill()) },
		"made read-only": func(t *testing.T, primary *devservers.Postgres) {
			require.NoError(t, primary.CommitAlone(t.Context()))
			connection, err := pgx.Connect(t.Context(), primary.DSN())
			require.NoError(t, err)
			defer connection.Close(t.Context())
			_, err = connection.Exec(t.Context(), `ALTER SYSTEM SET default_transaction_read_only = on`)
			require.NoError(t, err)
			_, err = connection.Exec(t.Context(), `SELECT pg_reload_conf()`)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := servers.Postgres(t, devservers.PostgresOptions{Plain: true})
			require.NoError(t, migrations.Up(t.Context(), primary.DSN(), nil, slog.New(slog.DiscardHandler)))
			standby := servers.Postgres(t, devservers.PostgresOptions{Plain: true, StandbyOf: primary.DSN()})
			both, err := url.Parse(primary.DSN())
			require.NoError(t, err)
			second, err := url.Parse(standby.DSN())
			require.NoError(t, err)
			pool := openPool(t, strings.Replace(primary.DSN(), both.Host, both.Host+","+second.Host, 1))
			lanes := lane.All(lane.Options{})
			w, l := newTestWriter(pool, lanes), lanes[0]
			_, err = w.Write(t.Context(), flight(l, 1, 0, 500), "")
			require.NoError(t, err)

			end(t, primary)
			require.NoError(t, standby.Promote(t.Context()))
			require.Eventually(t, func() bool {
				_, err := w.Write(t.Context(), flight(l, 2, 0, 500), "")
				return err == nil && countRows(t, openPool(t, standby.DSN()), l.Table) == 1000
			}, 15*time.Second, 100*time.Millisecond, "connections to the old primary are kept")
			assert.Equal(t, 1000, countRows(t, pool, l.Table))
		})
	}
}
