// Package config reads tracklane's settings from environment variables.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// Config is everything that the API and the workers can be told. Make one with
// Load; a Config that Load returned is valid in each field and as a whole.
//
// The tags drive parsing, validation and Describe: env and envDefault name the
// variable and its default, min and max bound it, oneof lists its values,
// format names a check of its own, secret keeps its value out of errors, and
// help is its line in the help text.
type Config struct {
	// HTTPAddr is the address to listen on. Default ":8080".
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8080" format:"address" help:"listen address"`

	// OperatorAddr is the address that serves the operators' endpoints and the
	// probes, and HTTPAddr serves the lanes alone then. Default empty: HTTPAddr
	// serves all.
	OperatorAddr string `env:"OPERATOR_ADDR" format:"address" help:"listen address of the operators' endpoints and the probes; empty = HTTP_ADDR"`

	// TLSCertFile and TLSKeyFile are PEM files of a certificate and its key, with
	// which HTTPAddr and OperatorAddr serve HTTPS. Default empty, both: HTTP.
	TLSCertFile string `env:"TLS_CERT_FILE" help:"certificate in PEM, to serve HTTPS; read again when it changes"`
	TLSKeyFile  string `env:"TLS_KEY_FILE" help:"key of the certificate in PEM; read again when it changes"`

	// MaxConnectionsPerAddress bounds the connections that one address has to
	// HTTPAddr; an IPv6 address stands for its /64. Default 500.
	MaxConnectionsPerAddress int `env:"MAX_CONNECTIONS_PER_ADDRESS" envDefault:"500" min:"1" max:"10000" help:"connections of one client address, at most"`

	// DatabaseURL says where PostgreSQL 15+ or TimescaleDB is, as a URL or in
	// keyword=value form. No default: it must be set.
	DatabaseURL string `env:"DATABASE_URL,required" format:"database" secret:"true" help:"PostgreSQL 15+ or TimescaleDB"`

	// DatabaseMaxConnections bounds the connections that one process opens to
	// PostgreSQL. Default 10. It wins over a pool_max_conns in DatabaseURL.
	DatabaseMaxConnections int `env:"DB_MAX_CONNECTIONS" envDefault:"10" min:"1" max:"10000" help:"PostgreSQL connections per process, at most"`

	// Redis says where the queue is.
	Redis Redis

	// Production selects production defaults: the Redis host becomes "redis".
	// Default false.
	Production bool `env:"PROD" envDefault:"false" help:"production defaults"`

	// LogLevel is the least severe level that is logged. Default info.
	LogLevel slog.Level `env:"LOG_LEVEL" envDefault:"info" oneof:"debug info warn error" help:"least severe level that is logged"`

	// LogFormat is "json" or "text". Default "json".
	LogFormat string `env:"LOG_FORMAT" envDefault:"json" oneof:"json text" help:"format of log lines"`

	// BatchMinPoints is the smallest batch task that a request is cut into, in
	// points; smaller requests wait in a group to be coalesced. Default 500.
	BatchMinPoints int `env:"BATCH_MIN_POINTS" envDefault:"500" min:"1" max:"10000" help:"smallest batch task made from one request, in points"`

	// BatchMaxPoints is the largest batch task, in points. Default 1000. It is
	// at least 2*BatchMinPoints-1, so that any number of points from
	// BatchMinPoints up can be cut into tasks between the two.
	BatchMaxPoints int `env:"BATCH_MAX_POINTS" envDefault:"1000" min:"1" max:"10000" help:"largest batch task, in points; at least 2 × BATCH_MIN_POINTS − 1"`

	// GroupGracePeriod is how long a group waits for more points after its
	// last one. Default 1s, which is also the least.
	GroupGracePeriod time.Duration `env:"GROUP_GRACE_PERIOD" envDefault:"1s" min:"1s" help:"how long points wait for others to join them"`

	// GroupMaxDelay is the longest that a point waits in a group that keeps
	// growing. Default 2s; never less than GroupGracePeriod.
	GroupMaxDelay time.Duration `env:"GROUP_MAX_DELAY" envDefault:"2s" min:"1s" help:"the longest that points wait to be coalesced; at least GROUP_GRACE_PERIOD"`

	// MaxWaitingPoints is the backlog, in points, beyond which new points go
	// straight to the database. Default 5000000.
	MaxWaitingPoints int `env:"MAX_WAITING_POINTS" envDefault:"5000000" min:"1" help:"queued points beyond which new ones go straight to the database"`

	// WorkerConcurrency is the number of batches that one worker process
	// writes at the same time. Default 4.
	WorkerConcurrency int `env:"WORKER_CONCURRENCY" envDefault:"4" min:"1" max:"1000" help:"batch processors per worker process"`

	// Lanes holds the settings that each lane has for itself, by lane name.
	// Load fills in every lane of package lane.
	Lanes map[string]Lane `env:"-"`

	// Auth is "on" or "off", which opens every endpoint to everybody and is
	// refused when Production. Default "on".
	Auth string `env:"AUTH" envDefault:"on" oneof:"on off" help:"off opens every endpoint to everybody; refused with PROD=true"`

	// SecretKey signs tokens. CheckAuth says who needs one.
	SecretKey string `env:"SECRET_KEY" format:"key" secret:"true" help:"signs tokens; required by the API with AUTH=on"`

	// SecretKeyPrevious verifies tokens that were signed before the key was
	// changed. Default empty: there are none.
	SecretKeyPrevious string `env:"SECRET_KEY_PREVIOUS" format:"key" secret:"true" help:"still verifies tokens, so that SECRET_KEY can be changed without a stop"`

	// OperatorUser and OperatorPassword are the operators' account. CheckAuth
	// says who needs one.
	OperatorUser     string `env:"OPERATOR_USER" envDefault:"operator" help:"user name of the operators"`
	OperatorPassword string `env:"OPERATOR_PASSWORD" secret:"true" help:"password of the operators; required with AUTH=on"`

	// RateLimit and RateBurst bound the requests of one sender, with Auth on: so
	// many a second, RateBurst at once. Defaults 50 and 500; RateLimit 0 = none.
	RateLimit int `env:"RATE_LIMIT" envDefault:"50" min:"0" max:"1000000" help:"requests a second of one pilot or device, or of an address without a good token; 0 = no limit"`
	RateBurst int `env:"RATE_BURST" envDefault:"500" min:"1" max:"1000000" help:"requests that one of them may make at once"`

	// TrustedProxies are the networks of reverse proxies, whose X-Forwarded-For
	// says who a client is. Default none.
	TrustedProxies Networks `env:"TRUSTED_PROXIES" format:"networks" help:"networks of reverse proxies whose X-Forwarded-For is believed, with commas"`

	// CORSOrigins are those of the web pages that may call the endpoints of
	// clients, not those of operators. Default none.
	CORSOrigins Origins `env:"CORS_ORIGINS" format:"origins" help:"origins of web pages that may call the API, with commas; empty = none"`

	// FlymasterSecret checks the key that a Flymaster device sends. Default
	// empty: with Auth on, a device needs a token.
	FlymasterSecret string `env:"FLYMASTER_SECRET" secret:"true" help:"checks the key that a Flymaster device sends; empty = a device needs a token"`

	// MigrateOnStart applies pending schema migrations when a process starts.
	// Default true; safe with many processes at once.
	MigrateOnStart bool `env:"MIGRATE_ON_START" envDefault:"true" help:"apply schema migrations at the start; safe with many processes at once"`

	// ShutdownTimeout is how long a process that was told to stop may take to
	// finish what is in flight. Default 30s.
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"30s" min:"1ms" help:"how long a stopping process may take to finish what is in flight"`

	// AsynqmonReadOnly hides the buttons of the asynqmon web UI that change
	// queues. Default false.
	AsynqmonReadOnly bool `env:"ASYNQMON_READ_ONLY" envDefault:"false" help:"hide what changes queues in the asynqmon web UI"`

	// MapTiles is the file or URL template of the live map's background. Default empty: a
	// grid.
	MapTiles string `env:"MAP_TILES" format:"tiles" help:"background of the map: a .pmtiles file of raster tiles, or a URL template with {z}, {x} and {y}; empty = a plain grid"`

	// DebugAddr is the address that serves pprof. Default empty: off.
	DebugAddr string `env:"DEBUG_ADDR" format:"address" help:"listen address for pprof; empty = off"`
}

// Lane is what can be set for each lane: the variables are the names below
// followed by an underscore and the lane's name, such as RETENTION_LIVE.
type Lane struct {
	// Weight is the lane's share of the workers when all queues are full. The
	// default is the lane's own.
	Weight int `env:"QUEUE_WEIGHT" min:"1" max:"1000" help:"share of the workers when all queues are full"`

	// CompressAfter is the age at which TimescaleDB compresses chunks.
	// Default 168h; 0 = never.
	CompressAfter time.Duration `env:"COMPRESS_AFTER" envDefault:"168h" min:"0" help:"age at which TimescaleDB compresses chunks; 0 = never"`

	// Retention is the age at which TimescaleDB drops chunks, and the points
	// in them. Default 0 = never.
	Retention time.Duration `env:"RETENTION" envDefault:"0" min:"0" help:"age at which TimescaleDB drops chunks; 0 = never"`
}

// Load reads a Config from environ, which has the form of os.Environ: of two
// entries for one name the last counts. An empty value counts as unset, and
// names that Describe does not list are ignored.
//
// The error is a single line that names the first wrong variable, its value
// unless that is or may hold a secret, and what it accepts.
func Load(environ []string) (Config, error) {
	values := env.ToMap(environ)
	for name, value := range values {
		if name == "" || value == "" {
			delete(values, name)
		}
	}
	lanes := lane.All(lane.Options{}) // for their names and default weights
	for _, variable := range variables(lanes) {
		if err := variable.check(values[variable.Name]); err != nil {
			return Config{}, err
		}
	}

	var loaded Config
	if err := env.ParseWithOptions(&loaded, env.Options{Environment: values}); err != nil {
		return Config{}, fmt.Errorf("read configuration from the environment: %w", err)
	}
	var err error
	if loaded.Lanes, err = loadLanes(values, lanes); err != nil {
		return Config{}, err
	}
	if loaded.Production && values["REDIS_HOST"] == "" {
		loaded.Redis.Host = productionRedisHost
	}
	if err := loaded.checkTogether(); err != nil {
		return Config{}, err
	}
	return loaded, nil
}

// checkTogether finds values that are right alone and wrong beside another.
func (c Config) checkTogether() error {
	if least := 2*c.BatchMinPoints - 1; c.BatchMaxPoints < least {
		return fmt.Errorf("BATCH_MAX_POINTS=\"%d\": must be at least %d (2 × BATCH_MIN_POINTS − 1), "+
			"so that every request of BATCH_MIN_POINTS points or more can be cut into batches of the right size",
			c.BatchMaxPoints, least)
	}
	if c.Production && !c.AuthRequired() {
		return errors.New("AUTH=off: not with PROD=true; set SECRET_KEY and OPERATOR_PASSWORD instead")
	}
	if c.TLSCertFile == "" && c.TLSKeyFile != "" {
		return fmt.Errorf("TLS_CERT_FILE is not set: must be set together with TLS_KEY_FILE, which is %q", c.TLSKeyFile)
	}
	if c.TLSKeyFile == "" && c.TLSCertFile != "" {
		return fmt.Errorf("TLS_KEY_FILE is not set: must be set together with TLS_CERT_FILE, which is %q", c.TLSCertFile)
	}
	if c.GroupMaxDelay < c.GroupGracePeriod {
		return fmt.Errorf("GROUP_MAX_DELAY=%q: must be at least GROUP_GRACE_PERIOD, which is %s",
			c.GroupMaxDelay, c.GroupGracePeriod)
	}
	return nil
}

// AuthRequired reports whether clients and operators have to say who they are.
func (c Config) AuthRequired() bool { return c.Auth == "on" }

// CheckAuth returns an error, a line that says what to do, if a process that
// serves operators and, where api says so, the lanes lacks what Auth requires.
func (c Config) CheckAuth(api bool) error {
	var missing []string
	if c.AuthRequired() && api && c.SecretKey == "" {
		missing = append(missing, "SECRET_KEY")
	}
	if c.AuthRequired() && c.OperatorPassword == "" {
		missing = append(missing, "OPERATOR_PASSWORD")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s must be set: make a value with 'openssl rand -base64 32', "+
		"or set AUTH=off to open every endpoint to everybody", strings.Join(missing, " and "))
}

// DatabasePool returns the settings for a connection pool of at most
// DatabaseMaxConnections connections to DatabaseURL. The error never holds any
// part of DatabaseURL.
func (c Config) DatabasePool() (*pgxpool.Config, error) {
	pool, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, databaseURLError(err)
	}
	pool.MaxConns = int32(c.DatabaseMaxConnections)
	return pool, nil
}

var errDatabaseURL = errors.New("DATABASE_URL (value not shown): must be " + databaseForm)

// databaseURLError says what is wrong with a DATABASE_URL for which pgx has an
// error. That may quote the password; the error of a file that it names does not.
func databaseURLError(err error) error {
	if file, found := errors.AsType[*fs.PathError](err); found {
		return fmt.Errorf("DATABASE_URL (value not shown): a file that it names cannot be read: %w", file)
	}
	return errDatabaseURL
}

const databaseForm = "a PostgreSQL URL such as postgres://user:password@host:5432/database, " +
	"special characters of the password percent-encoded"
