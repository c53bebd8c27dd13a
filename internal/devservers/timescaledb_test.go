package devservers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where TimescaleDB is not installed, every server is as a plain one.
func TestPostgres_HasTimescaleDBWhereItIsInstalledUnlessPlain(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]PostgresOptions{
		"for tests": {}, "durable": {Durable: true}, "plain": {Plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options.Dir = testDir(t)
			server, err := StartPostgres(t.Context(), options)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, server.Kill()) })
			const preloaded = `SELECT count(*) FROM pg_settings WHERE name = 'shared_preload_libraries' AND setting = 'timescaledb'`
			if !server.TimescaleDB() {
				assert.Equal(t, 0, count(t, server.DSN(), preloaded))
				return
			}
			assert.Equal(t, 1, count(t, server.DSN(), preloaded))
			for _, database := range []string{"one", "two", "three"} {
				url, err := server.CreateDatabase(t.Context(), database)
				require.NoError(t, err)
				execute(t, url, "CREATE EXTENSION timescaledb")
				require.NoError(t, server.DropDatabase(t.Context(), database))
			}
			require.NoError(t, server.Stop(t.Context()))
			log, err := os.ReadFile(filepath.Join(options.Dir, "postgres.log"))
			require.NoError(t, err)
			assert.NotContains(t, string(log), "WARNING")
		})
	}
}
