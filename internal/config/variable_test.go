package config_test

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/config"
)

func TestDescribe_ListsTheVariablesInOrder(t *testing.T) {
	var names []string
	for _, variable := range config.Describe() {
		names = append(names, variable.Name)
	}
	assert.Equal(t, []string{
		"HTTP_ADDR", "OPERATOR_ADDR", "TLS_CERT_FILE", "TLS_KEY_FILE", "MAX_CONNECTIONS_PER_ADDRESS", "DATABASE_URL", "DB_MAX_CONNECTIONS",
		"REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_USERNAME", "REDIS_PASSWORD",
		"REDIS_MAX_CONNECTIONS", "REDIS_TIMEOUT",
		"PROD", "LOG_LEVEL", "LOG_FORMAT",
		"BATCH_MIN_POINTS", "BATCH_MAX_POINTS", "GROUP_GRACE_PERIOD", "GROUP_MAX_DELAY",
		"MAX_WAITING_POINTS", "WORKER_CONCURRENCY",
		"QUEUE_WEIGHT_LIVE", "QUEUE_WEIGHT_UPLOAD", "QUEUE_WEIGHT_SCORING", "QUEUE_WEIGHT_FLYMASTER",
		"COMPRESS_AFTER_LIVE", "COMPRESS_AFTER_UPLOAD", "COMPRESS_AFTER_SCORING", "COMPRESS_AFTER_FLYMASTER",
		"RETENTION_LIVE", "RETENTION_UPLOAD", "RETENTION_SCORING", "RETENTION_FLYMASTER",
		"AUTH", "SECRET_KEY", "SECRET_KEY_PREVIOUS", "OPERATOR_USER", "OPERATOR_PASSWORD",
		"RATE_LIMIT", "RATE_BURST", "TRUSTED_PROXIES", "CORS_ORIGINS",
		"FLYMASTER_SECRET", "MIGRATE_ON_START", "SHUTDOWN_TIMEOUT", "ASYNQMON_READ_ONLY", "MAP_TILES", "DEBUG_ADDR",
	}, names)
}

func TestDescribe_SaysWhatEachVariableIs(t *testing.T) {
	described := make(map[string]config.Variable)
	for _, variable := range config.Describe() {
		described[variable.Name] = variable
		assert.NotEmpty(t, variable.Meaning, variable.Name)
	}
	assert.Equal(t, config.Variable{
		Name:    "QUEUE_WEIGHT_LIVE",
		Default: "6",
		Meaning: "live lane: share of the workers when all queues are full",
		Accepts: "a whole number from 1 to 1000",
	}, described["QUEUE_WEIGHT_LIVE"])
	assert.Equal(t, config.Variable{
		Name:     "DATABASE_URL",
		Meaning:  "PostgreSQL 15+ or TimescaleDB",
		Accepts:  "a PostgreSQL URL such as postgres://user:password@host:5432/database, special characters of the password percent-encoded",
		Required: true,
		Secret:   true,
	}, described["DATABASE_URL"])

	for _, name := range []string{"REDIS_URL", "REDIS_PASSWORD", "FLYMASTER_SECRET", "SECRET_KEY", "SECRET_KEY_PREVIOUS", "OPERATOR_PASSWORD"} {
		assert.True(t, described[name].Secret, name)
	}
}

// A default that Describe shows is one that Load takes and changes nothing by.
func TestDescribe_ShowsTheDefaultsThatLoadUses(t *testing.T) {
	defaults, err := config.Load([]string{databaseURL})
	require.NoError(t, err)
	for _, variable := range config.Describe() {
		if variable.Default == "" {
			continue
		}
		t.Run(variable.Name, func(t *testing.T) {
			loaded, err := config.Load([]string{databaseURL, variable.Name + "=" + variable.Default})
			require.NoError(t, err)
			assert.Equal(t, defaults, loaded)
		})
	}
}

func TestDescribe_AgreesWithTheExampleFile(t *testing.T) {
	file, err := os.Open("../../.env.example")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()

	entry := regexp.MustCompile(`^(?:# ?)?([A-Z][A-Z0-9_]*)=(.*)$`)
	listed := make(map[string]string)
	var names []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if match := entry.FindStringSubmatch(lines.Text()); match != nil {
			listed[match[1]] = match[2]
			names = append(names, match[1])
		}
	}
	require.NoError(t, lines.Err())

	// Compose's alone: the program does not read it.
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.Contains([]string{
			"POSTGRES_PASSWORD", "POSTGRES_OWNER_PASSWORD", "POSTGRES_APP_PASSWORD", "PUBLISH", "TLS_DIR", "SITE_ADDRESS",
		}, name)
	})

	var described []string
	for _, variable := range config.Describe() {
		described = append(described, variable.Name)
		if !variable.Secret {
			assert.Equal(t, variable.Default, listed[variable.Name], variable.Name)
		}
	}
	assert.Equal(t, described, names, "each variable once, in the order of Describe")
}
