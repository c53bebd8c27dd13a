package config_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/config"
	"tracklane/internal/lane"
)

const databaseURL = "DATABASE_URL=postgres://pilot:thermal@db.example:5433/flights"

func TestLoad_FillsInEveryDefault(t *testing.T) {
	loaded, err := config.Load([]string{databaseURL})
	require.NoError(t, err)

	day := 24 * time.Hour
	assert.Equal(t, config.Config{
		HTTPAddr:                 ":8080",
		MaxConnectionsPerAddress: 500,
		DatabaseURL:              "postgres://pilot:thermal@db.example:5433/flights",
		DatabaseMaxConnections:   10,
		Redis: config.Redis{
			Host:           "localhost",
			Port:           6379,
			MaxConnections: 50,
			Timeout:        250 * time.Millisecond,
		},
		LogLevel:          slog.LevelInfo,
		LogFormat:         "json",
		BatchMinPoints:    500,
		BatchMaxPoints:    1000,
		GroupGracePeriod:  time.Second,
		GroupMaxDelay:     2 * time.Second,
		MaxWaitingPoints:  5_000_000,
		WorkerConcurrency: 4,
		Lanes: map[string]config.Lane{
			"live":      {Weight: 6, CompressAfter: 7 * day},
			"upload":    {Weight: 3, CompressAfter: 7 * day},
			"scoring":   {Weight: 3, CompressAfter: 7 * day},
			"flymaster": {Weight: 1, CompressAfter: 7 * day},
		},
		Auth:            "on",
		OperatorUser:    "operator",
		RateLimit:       50,
		RateBurst:       500,
		MigrateOnStart:  true,
		ShutdownTimeout: 30 * time.Second,
	}, loaded)
}

// everyVariable sets each variable to something else than its default.
func everyVariable() []string {
	return []string{
		databaseURL,
		"HTTP_ADDR=127.0.0.1:0",
		"OPERATOR_ADDR=127.0.0.1:8081",
		"TLS_CERT_FILE=cert.pem",
		"TLS_KEY_FILE=key.pem",
		"MAX_CONNECTIONS_PER_ADDRESS=20",
		"DB_MAX_CONNECTIONS=3",
		"REDIS_URL=redis://queue",
		"REDIS_HOST=queue.example",
		"REDIS_PORT=6380",
		"REDIS_DB=2",
		"REDIS_USERNAME=lane",
		"REDIS_PASSWORD=key",
		"REDIS_MAX_CONNECTIONS=7",
		"REDIS_TIMEOUT=100ms",
		"PROD=true",
		"LOG_LEVEL=warn",
		"LOG_FORMAT=text",
		"BATCH_MIN_POINTS=10",
		"BATCH_MAX_POINTS=19",
		"GROUP_GRACE_PERIOD=1500ms",
		"GROUP_MAX_DELAY=1500ms",
		"MAX_WAITING_POINTS=100",
		"WORKER_CONCURRENCY=9",
		"QUEUE_WEIGHT_LIVE=11", "QUEUE_WEIGHT_UPLOAD=12", "QUEUE_WEIGHT_SCORING=13", "QUEUE_WEIGHT_FLYMASTER=14",
		"COMPRESS_AFTER_LIVE=1h", "COMPRESS_AFTER_UPLOAD=2h", "COMPRESS_AFTER_SCORING=0", "COMPRESS_AFTER_FLYMASTER=4h",
		"RETENTION_LIVE=10h", "RETENTION_UPLOAD=20h", "RETENTION_SCORING=30h", "RETENTION_FLYMASTER=0",
		"AUTH=on",
		"SECRET_KEY=0123456789abcdef0123456789abcdef", "SECRET_KEY_PREVIOUS=fedcba9876543210fedcba9876543210",
		"OPERATOR_USER=chief", "OPERATOR_PASSWORD=cloudbase",
		"RATE_LIMIT=10", "RATE_BURST=20",
		"CORS_ORIGINS=https://race.example, http://localhost:5173",
		"TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.7,2001:db8::/32",
		"FLYMASTER_SECRET=instrument",
		"MIGRATE_ON_START=false",
		"SHUTDOWN_TIMEOUT=5s",
		"ASYNQMON_READ_ONLY=true",
		"DEBUG_ADDR=localhost:6060",
	}
}

func TestLoad_ReadsEveryVariable(t *testing.T) {
	loaded, err := config.Load(everyVariable())
	require.NoError(t, err)

	assert.Equal(t, config.Config{
		HTTPAddr:                 "127.0.0.1:0",
		OperatorAddr:             "127.0.0.1:8081",
		TLSCertFile:              "cert.pem",
		TLSKeyFile:               "key.pem",
		MaxConnectionsPerAddress: 20,
		DatabaseURL:              "postgres://pilot:thermal@db.example:5433/flights",
		DatabaseMaxConnections:   3,
		Redis: config.Redis{
			URL:            "redis://queue",
			Host:           "queue.example",
			Port:           6380,
			DB:             2,
			Username:       "lane",
			Password:       "key",
			MaxConnections: 7,
			Timeout:        100 * time.Millisecond,
		},
		Production:        true,
		LogLevel:          slog.LevelWarn,
		LogFormat:         "text",
		BatchMinPoints:    10,
		BatchMaxPoints:    19,
		GroupGracePeriod:  1500 * time.Millisecond,
		GroupMaxDelay:     1500 * time.Millisecond,
		MaxWaitingPoints:  100,
		WorkerConcurrency: 9,
		Lanes: map[string]config.Lane{
			"live":      {Weight: 11, CompressAfter: time.Hour, Retention: 10 * time.Hour},
			"upload":    {Weight: 12, CompressAfter: 2 * time.Hour, Retention: 20 * time.Hour},
			"scoring":   {Weight: 13, Retention: 30 * time.Hour},
			"flymaster": {Weight: 14, CompressAfter: 4 * time.Hour},
		},
		Auth:              "on",
		SecretKey:         "0123456789abcdef0123456789abcdef",
		SecretKeyPrevious: "fedcba9876543210fedcba9876543210",
		OperatorUser:      "chief",
		OperatorPassword:  "cloudbase",
		RateLimit:         10,
		RateBurst:         20,
		CORSOrigins:       config.Origins{"https://race.example", "http://localhost:5173"},
		TrustedProxies: config.Networks{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32"),
		},
		FlymasterSecret:  "instrument",
		ShutdownTimeout:  5 * time.Second,
		AsynqmonReadOnly: true,
		DebugAddr:        "localhost:6060",
	}, loaded)
}

func TestLoad_CountsAnEmptyValueAsUnset(t *testing.T) {
	environ := []string{databaseURL}
	for _, variable := range config.Describe() {
		if !variable.Required {
			environ = append(environ, variable.Name+"=")
		}
	}
	loaded, err := config.Load(environ)
	require.NoError(t, err)

	defaults, err := config.Load([]string{databaseURL})
	require.NoError(t, err)
	assert.Equal(t, defaults, loaded)
}

func TestLoad_LetsTheLastOfTwoEntriesCount(t *testing.T) {
	loaded, err := config.Load([]string{databaseURL, "HTTP_ADDR=:1", "HTTP_ADDR=:2"})
	require.NoError(t, err)
	assert.Equal(t, ":2", loaded.HTTPAddr)
}

func TestLoad_IgnoresVariablesOfOtherPrograms(t *testing.T) {
	_, err := config.Load([]string{databaseURL, "EDITOR=vi", "=C:=C:\\", "nonsense"})
	assert.NoError(t, err)
}

func TestLoad_RedisHostDependsOnProduction(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		host    string
	}{
		{"localhost when nothing is set", nil, "localhost"},
		{"localhost when not in production", []string{"PROD=false"}, "localhost"},
		{"redis in production", []string{"PROD=true"}, "redis"},
		{"redis in production when the variable is empty", []string{"PROD=1", "REDIS_HOST="}, "redis"},
		{"what is set, in production", []string{"PROD=true", "REDIS_HOST=localhost"}, "localhost"},
		{"what is set, elsewhere", []string{"REDIS_HOST=queue.example"}, "queue.example"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			loaded, err := config.Load(append(test.environ, databaseURL))
			require.NoError(t, err)
			assert.Equal(t, test.host, loaded.Redis.Host)
		})
	}
}

func TestLoad_AcceptsValuesAtTheEdgeOfTheirRange(t *testing.T) {
	for _, entry := range []string{
		"HTTP_ADDR=:0", "HTTP_ADDR=[::1]:65535", "HTTP_ADDR=localhost:80",
		"DB_MAX_CONNECTIONS=1", "REDIS_MAX_CONNECTIONS=1",
		"REDIS_HOST=::1", "REDIS_HOST=10.0.0.1", "REDIS_HOST=queue_1.example.",
		"REDIS_PORT=1", "REDIS_PORT=65535", "REDIS_DB=0", "REDIS_TIMEOUT=1ms",
		"BATCH_MAX_POINTS=999", "BATCH_MAX_POINTS=10000", "BATCH_MIN_POINTS=1",
		"GROUP_GRACE_PERIOD=2s", "GROUP_MAX_DELAY=1s", "MAX_WAITING_POINTS=1",
		"QUEUE_WEIGHT_LIVE=1", "COMPRESS_AFTER_UPLOAD=0s", "RETENTION_LIVE=0", "RETENTION_LIVE=8760h",
		"LOG_LEVEL=debug", "LOG_LEVEL=error", "PROD=0",
		"DATABASE_URL=host=/run/postgresql dbname=tracklane user=pilot",
	} {
		t.Run(entry, func(t *testing.T) {
			_, err := config.Load([]string{databaseURL, entry})
			assert.NoError(t, err)
		})
	}
}

func TestLoad_NamesTheWrongVariableItsValueAndWhatItAccepts(t *testing.T) {
	tests := []struct {
		name  string
		entry string
		want  string
	}{
		{"an address without a port", "HTTP_ADDR=localhost", `HTTP_ADDR="localhost": must be an address such as :8080 or 127.0.0.1:8080`},
		{"an address with a port that is too high", "HTTP_ADDR=:65536", `HTTP_ADDR=":65536": must be an address such as :8080 or 127.0.0.1:8080`},
		{"an address with the name of a service", "DEBUG_ADDR=:http", `DEBUG_ADDR=":http": must be an address such as :8080 or 127.0.0.1:8080`},
		{"a number that is none", "DB_MAX_CONNECTIONS=many", `DB_MAX_CONNECTIONS="many": must be a whole number from 1 to 10000`},
		{"a number with a fraction", "WORKER_CONCURRENCY=1.5", `WORKER_CONCURRENCY="1.5": must be a whole number from 1 to 1000`},
		{"a number beyond every integer", "REDIS_DB=99999999999999999999", `REDIS_DB="99999999999999999999": must be a whole number from 0 to 65535`},
		{"no connections at all", "REDIS_MAX_CONNECTIONS=0", `REDIS_MAX_CONNECTIONS="0": must be a whole number from 1 to 10000`},
		{"a port that is too high", "REDIS_PORT=65536", `REDIS_PORT="65536": must be a whole number from 1 to 65535`},
		{"a port of zero", "REDIS_PORT=0", `REDIS_PORT="0": must be a whole number from 1 to 65535`},
		{"a host with a port", "REDIS_HOST=queue:6379", `REDIS_HOST="queue:6379": must be a host name or an IP address, without a port`},
		{"a host that is a URL with a password", "REDIS_HOST=redis://:s3cret@queue", `REDIS_HOST (value not shown): must be a host name or an IP address, without a port`},
		{"a host that is a password", "REDIS_HOST=s3cret/x:1", `REDIS_HOST (value not shown): must be a host name or an IP address, without a port`},
		{"a port that is a password", "REDIS_PORT=s3cret", `REDIS_PORT (value not shown): must be a whole number from 1 to 65535`},
		{"a port that is a password with digits", "REDIS_PORT=queue:1234", `REDIS_PORT (value not shown): must be a whole number from 1 to 65535`},
		{"a database that is a password", "REDIS_DB=12s3cret", `REDIS_DB (value not shown): must be a whole number from 0 to 65535`},
		{"no time for Redis", "REDIS_TIMEOUT=0", `REDIS_TIMEOUT="0": must be a duration such as 1500ms or 30s, at least 1ms`},
		{"a duration without a unit", "REDIS_TIMEOUT=250", `REDIS_TIMEOUT="250": must be a duration such as 1500ms or 30s, at least 1ms`},
		{"a truth value that is none", "PROD=yes", `PROD="yes": must be true or false`},
		{"a level that is none", "LOG_LEVEL=INFO+2", `LOG_LEVEL="INFO+2": must be debug, info, warn or error`},
		{"a format that is none", "LOG_FORMAT=xml", `LOG_FORMAT="xml": must be json or text`},
		{"batches of no points", "BATCH_MIN_POINTS=0", `BATCH_MIN_POINTS="0": must be a whole number from 1 to 10000`},
		{"batches that are too large", "BATCH_MAX_POINTS=10001", `BATCH_MAX_POINTS="10001": must be a whole number from 1 to 10000`},
		{"batches that cannot be cut evenly", "BATCH_MAX_POINTS=998", `BATCH_MAX_POINTS="998": must be at least 999 (2 × BATCH_MIN_POINTS − 1), so that every request of BATCH_MIN_POINTS points or more can be cut into batches of the right size`},
		{"a grace period that asynq does not take", "GROUP_GRACE_PERIOD=999ms", `GROUP_GRACE_PERIOD="999ms": must be a duration such as 1500ms or 30s, at least 1s`},
		{"a grace period beyond the delay", "GROUP_GRACE_PERIOD=3s", `GROUP_MAX_DELAY="2s": must be at least GROUP_GRACE_PERIOD, which is 3s`},
		{"no point may wait", "MAX_WAITING_POINTS=0", `MAX_WAITING_POINTS="0": must be a whole number, at least 1`},
		{"no processors", "WORKER_CONCURRENCY=0", `WORKER_CONCURRENCY="0": must be a whole number from 1 to 1000`},
		{"a lane without weight", "QUEUE_WEIGHT_SCORING=0", `QUEUE_WEIGHT_SCORING="0": must be a whole number from 1 to 1000`},
		{"an age below zero", "COMPRESS_AFTER_LIVE=-1h", `COMPRESS_AFTER_LIVE="-1h": must be 0 or a duration such as 90m or 168h`},
		{"an age in days", "RETENTION_FLYMASTER=7d", `RETENTION_FLYMASTER="7d": must be 0 or a duration such as 90m or 168h`},
		{"access for nobody known", "AUTH=maybe", `AUTH="maybe": must be on or off`},
		{"a short key", "SECRET_KEY=s3cret", `SECRET_KEY (value not shown): must be at least 32 characters`},
		{"a certificate without its key", "TLS_CERT_FILE=cert.pem", `TLS_KEY_FILE is not set: must be set together with TLS_CERT_FILE, which is "cert.pem"`},
		{"a key without its certificate", "TLS_KEY_FILE=key.pem", `TLS_CERT_FILE is not set: must be set together with TLS_KEY_FILE, which is "key.pem"`},
		{"a proxy by its name", "TRUSTED_PROXIES=10.0.0.1,proxy", `TRUSTED_PROXIES="10.0.0.1,proxy": must be networks or addresses with commas between them, such as 10.0.0.0/8,192.0.2.7`},
		{"every origin", "CORS_ORIGINS=*", `CORS_ORIGINS="*": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"an origin with a path", "CORS_ORIGINS=https://race.example/", `CORS_ORIGINS="https://race.example/": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"an origin without a scheme", "CORS_ORIGINS=race.example", `CORS_ORIGINS="race.example": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"an origin in capitals", "CORS_ORIGINS=https://Race.example", `CORS_ORIGINS="https://Race.example": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"an origin with the port of its scheme", "CORS_ORIGINS=https://race.example:443", `CORS_ORIGINS="https://race.example:443": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"an origin of a pattern", "CORS_ORIGINS=https://*.race.example", `CORS_ORIGINS="https://*.race.example": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"no origin", "CORS_ORIGINS=null", `CORS_ORIGINS="null": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"an origin of another scheme", "CORS_ORIGINS=ftp://race.example", `CORS_ORIGINS="ftp://race.example": must be origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173`},
		{"no time to stop", "SHUTDOWN_TIMEOUT=0", `SHUTDOWN_TIMEOUT="0": must be a duration such as 1500ms or 30s, at least 1ms`},
		{"a value of two lines", "LOG_FORMAT=json\ntext", `LOG_FORMAT="json\ntext": must be json or text`},
		{"no database", "DATABASE_URL=", `DATABASE_URL is not set: must be a PostgreSQL URL such as postgres://user:password@host:5432/database, special characters of the password percent-encoded`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Load([]string{databaseURL, test.entry})
			assert.EqualError(t, err, test.want)
		})
	}
}

func TestLoad_RefusesAnOpenProductionServer(t *testing.T) {
	_, err := config.Load([]string{databaseURL, "PROD=true", "AUTH=off"})
	assert.EqualError(t, err, "AUTH=off: not with PROD=true; set SECRET_KEY and OPERATOR_PASSWORD instead")
}

func TestConfig_CheckAuthNamesWhatIsMissing(t *testing.T) {
	const (
		key      = "SECRET_KEY=0123456789abcdef0123456789abcdef"
		password = "OPERATOR_PASSWORD=cloudbase"
		makeOne  = " must be set: make a value with 'openssl rand -base64 32', or set AUTH=off to open every endpoint to everybody"
	)
	for name, test := range map[string]struct {
		environ []string
		api     bool
		want    string
	}{
		"both for the API":                {nil, true, "SECRET_KEY and OPERATOR_PASSWORD" + makeOne},
		"a key for the API":               {[]string{password}, true, "SECRET_KEY" + makeOne},
		"a password for a worker":         {[]string{key}, false, "OPERATOR_PASSWORD" + makeOne},
		"no key for a worker":             {[]string{password}, false, ""},
		"nothing where all is set":        {[]string{key, password}, true, ""},
		"nothing where all is to be open": {[]string{"AUTH=off"}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := config.Load(append(test.environ, databaseURL))
			require.NoError(t, err)
			if err := loaded.CheckAuth(test.api); test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, test.want)
			}
		})
	}
}

func TestLoad_NeverShowsASecret(t *testing.T) {
	for _, entry := range []string{
		"DATABASE_URL=postgres://pilot:s3cret@db:port/flights",
		"DATABASE_URL=postgres://pilot:s3cret%zz@db/flights",
		"DATABASE_URL=postgres://pilot:s3cret@db/flights?sslmode=s3cret",
		"DATABASE_URL=s3cret",
		"DATABASE_URL=password='s3cret",
		"REDIS_URL=s3cret",
		"REDIS_URL=s3cret://queue",
		"REDIS_URL=redis://:s3cret%zz@queue",
		"REDIS_URL=redis://:s3cret/s3cret@queue",
		"REDIS_URL=redis://:s3cret?s3cret@queue",
		"REDIS_URL=redis://:s3cret#@queue",
		"REDIS_URL=redis://:s3cret@queue:s3cret",
		"REDIS_URL=redis://queue/s3cret",
		"REDIS_URL=redis://queue?password=s3cret",
		"REDIS_URL=redis://queue?s3cret=1",
		"REDIS_URL=redis-sentinel://:s3cret@queue",
	} {
		t.Run(entry, func(t *testing.T) {
			_, err := config.Load([]string{databaseURL, entry})
			require.Error(t, err)
			name, _, _ := strings.Cut(entry, "=")
			assert.True(t, strings.HasPrefix(err.Error(), name+" (value not shown): "), err.Error())
			assert.Contains(t, err.Error(), "must be ")
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestConfig_DatabasePoolHasTheConfiguredSize(t *testing.T) {
	loaded, err := config.Load([]string{databaseURL + "?pool_max_conns=99", "DB_MAX_CONNECTIONS=3"})
	require.NoError(t, err)

	pool, err := loaded.DatabasePool()
	require.NoError(t, err)
	assert.Equal(t, int32(3), pool.MaxConns)
	assert.Equal(t, "db.example", pool.ConnConfig.Host)
	assert.Equal(t, uint16(5433), pool.ConnConfig.Port)
	assert.Equal(t, "thermal", pool.ConnConfig.Password)
}

func TestConfig_DatabasePoolNeverShowsASecret(t *testing.T) {
	_, err := config.Config{DatabaseURL: "postgres://pilot:s3cret@db:port/x"}.DatabasePool()
	require.ErrorContains(t, err, "DATABASE_URL")
	assert.NotContains(t, err.Error(), "s3cret")
}

func TestLoad_FillsInEveryLane(t *testing.T) {
	loaded, err := config.Load([]string{databaseURL})
	require.NoError(t, err)
	require.Len(t, loaded.Lanes, len(lane.All(lane.Options{})))
	for _, each := range lane.All(lane.Options{}) {
		assert.Equal(t, each.Weight, loaded.Lanes[each.Name].Weight, each.Name)
	}
}
