package dev

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/config"
)

func TestAccessEnvironment_IsOpenWhereOnlyThisMachineReachesIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		address, auth string
		want          []string
	}{
		"by default":     {"", "", []string{"HTTP_ADDR=localhost:8080", "AUTH=off"}},
		"on loopback":    {"127.0.0.2:80", "", []string{"AUTH=off"}},
		"on ::1":         {"[::1]:80", "", []string{"AUTH=off"}},
		"where told so":  {":8080", "off", nil},
		"told on it too": {"localhost:80", "off", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			added, err := accessEnvironment(t.TempDir(), c.address, environment(map[string]string{"AUTH": c.auth}))
			require.NoError(t, err)
			assert.Equal(t, c.want, added)
		})
	}
}

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestAccessEnvironment_KeepsItsSecretsWhereOthersReachIt(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]map[string]string{
		":8080":           {},
		"127.0.0.1:8080":  {"AUTH": "on"},
		"192.0.2.1:8080":  {},
		"evil.localhost:": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			added, err := accessEnvironment(dir, name, environment(given))
			require.NoError(t, err)
			require.Len(t, added, 2)
			again, err := accessEnvironment(dir, name, environment(given))
			require.NoError(t, err)
			assert.Equal(t, added, again)

			loaded, err := config.Load(append(added, "DATABASE_URL=postgres://127.0.0.1/x"))
			require.NoError(t, err)
			assert.NoError(t, loaded.CheckAuth(true))
			token, err := relayToken(loaded)
			require.NoError(t, err)
			assert.NotEmpty(t, token)
			assert.NotEqual(t, loaded.SecretKey, loaded.OperatorPassword)
		})
	}
}

func TestAccessEnvironment_LeavesWhatWasGiven(t *testing.T) {
	t.Parallel()
	added, err := accessEnvironment(t.TempDir(), ":80", environment(map[string]string{"SECRET_KEY": "k", "OPERATOR_PASSWORD": "p"}))
	require.NoError(t, err)
	assert.Empty(t, added)
}

func TestAddresses_ShowNoPassword(t *testing.T) {
	t.Parallel()
	settings, err := config.Load([]string{
		"DATABASE_URL=postgres://anna:s3cret@db.example:5433/flights", "REDIS_URL=redis://anna:s3cret@queue.example/2",
	})
	require.NoError(t, err)
	assert.Equal(t, "postgres://anna@db.example:5433/flights", databaseAddress(settings))
	assert.Equal(t, "redis://queue.example:6379/2", redisAddress(settings))
}
