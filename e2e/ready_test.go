package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
)

// requireRefusing waits until a point of the live lane is refused with 503, and
// checks that /readyz and /health say so, too.
func (in *installation) requireRefusing(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return postJSON(t, in.api+"/live", flight("refused", 1)).code == 503 },
		20*time.Second, 50*time.Millisecond, "points are still accepted")
	var ready, code int
	require.Eventually(t, func() bool {
		ready, code = in.get(t, "/readyz", nil), in.health(t).code
		return ready == http.StatusServiceUnavailable && code == http.StatusServiceUnavailable
	}, 5*time.Second, 50*time.Millisecond, "points are refused, and /readyz responds with %d, /health with %d", ready, code)
	assert.Equal(t, 503, postJSON(t, in.api+"/live", flight("refused", 1)).code)
}

func TestReady_FullQueueAndDatabaseDown(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, "MAX_WAITING_POINTS=1000")
	require.Equal(t, 202, postJSON(t, in.api+"/live", flight("fill", 1000)).code)
	require.NoError(t, in.postgres.Kill())
	in.requireRefusing(t)
}

func TestReady_RedisDownAndDatabaseReadOnly(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]string{
		"by setting":       `ALTER SYSTEM SET default_transaction_read_only = on`,
		"by lack of right": `ALTER ROLE CURRENT_USER SET ROLE = pg_monitor`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			pool := openDatabase(t, in.postgres.DSN())
			requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
			_, err := pool.Exec(t.Context(), setting)
			require.NoError(t, err)
			require.NoError(t, in.postgres.Kill()) // its connections get the setting
			require.NoError(t, in.postgres.Restart(t.Context()))
			require.NoError(t, in.redis.Kill())
			in.requireRefusing(t)
		})
	}
}

func TestHealth_OfPlainPostgreSQLIsHealthyWithANote(t *testing.T) {
	t.Parallel()
	in := newInstallationOn(t, devservers.PostgresOptions{Durable: true, Plain: true})
	if in.redis.InMemory() {
		return // which is a reason
	}
	in.startWorker(t)
	var last healthResponse
	require.Eventually(t, func() bool {
		last = in.health(t)
		return last.Status == "healthy"
	}, 20*time.Second, 50*time.Millisecond, "a new installation is not healthy")
	assert.Empty(t, last.Reasons)
	assert.False(t, *last.Database.TimescaleDB)
	require.Len(t, last.Notes, 2)
	assert.Contains(t, last.Notes[0], "TimescaleDB is not installed")
	assert.Contains(t, last.Notes[1], "AUTH is off", "which only this machine can use")
}
