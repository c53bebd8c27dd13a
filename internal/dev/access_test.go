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
		address, operators, auth string
		want                     []string
	}{
		"by default":     {"", "", "", []string{"HTTP_ADDR=localhost:8080", "AUTH=off"}},
		"on loopback":    {"127.0.0.2:80", "127.0.0.1:81", "", []string{"AUTH=off"}},
		"on ::1":         {"[::1]:80", "", "", []string{"AUTH=off"}},
		"where told so":  {":8080", "", "off", nil},
		"told on it too": {"localhost:80", "", "off", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			added, err := accessEnvironment(t.TempDir(), environment(map[string]string{
				"AUTH": c.auth, "HTTP_ADDR": c.address, "OPERATOR_ADDR": c.operators,
			}))
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
		"all addresses":      {"HTTP_ADDR": ":8080"},
		"told so":            {"HTTP_ADDR": "127.0.0.1:8080", "AUTH": "on"},
		"an address":         {"HTTP_ADDR": "192.0.2.1:8080"},
		"a name":             {"HTTP_ADDR": "evil.localhost:8080"},
		"operators' address": {"OPERATOR_ADDR": ":9090"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			added, err := accessEnvironment(dir, environment(given))
			require.NoError(t, err)
			assert.NotContains(t, added, "AUTH=off")
			again, err := accessEnvironment(dir, environment(given))
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
	added, err := accessEnvironment(t.TempDir(), environment(map[string]string{
		"HTTP_ADDR": ":80", "SECRET_KEY": "k", "OPERATOR_PASSWORD": "p",
	}))
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
