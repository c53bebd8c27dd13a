package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// productionRedisHost is the default host when PROD is true.
const productionRedisHost = "redis"

// Redis says where the queue is and what a process may ask of it.
type Redis struct {
	// URL is where Redis is. Default empty: the next five fields say it;
	// otherwise they are not looked at. Its forms are
	//
	//	redis://[user:password@]host[:6379][/db]
	//	rediss://[user:password@]host[:6379][/db]
	//	redis-sentinel://[user:password@]host[:26379][,host[:26379]…]/master[/db]
	//	redis-cluster://[user:password@]host[:6379][,host[:6379]…]
	//	rediss-cluster://[user:password@]host[:6379][,host[:6379]…]
	//
	// with TLS in the second and the last. The master's name and the database may stand in
	// the query instead, as ?master= and ?db=. User and password are those of
	// the Redis servers; Sentinels that want a password of their own get it
	// from ?sentinel_password= (and ?sentinel_username=). The hosts of a cluster are
	// some of its servers, which name the others; its only database is 0.
	URL string `env:"REDIS_URL" format:"redis" secret:"true" help:"whole URL, wins over the next five: redis://, rediss://, redis-sentinel://, redis-cluster://, rediss-cluster://"`

	// Host is the Redis server's host. Default "localhost", or "redis" in
	// production.
	Host string `env:"REDIS_HOST" envDefault:"localhost" format:"host" mistakable:"true" help:"Redis host; the default is redis when PROD=true"`

	// Port is the Redis server's port. Default 6379.
	Port int `env:"REDIS_PORT" envDefault:"6379" min:"1" max:"65535" mistakable:"true" help:"Redis port"`

	// DB is the number of the Redis database. Default 0.
	DB int `env:"REDIS_DB" envDefault:"0" min:"0" max:"65535" mistakable:"true" help:"Redis database number"`

	// Username is the Redis user. Default empty: the server's default user.
	Username string `env:"REDIS_USERNAME" help:"Redis user; empty = the default user"`

	// Password is the Redis user's password. Default empty: none is sent.
	Password string `env:"REDIS_PASSWORD" secret:"true" help:"Redis password; empty = none"`

	// MaxConnections bounds the connections that one process opens to Redis.
	// Default 50.
	MaxConnections int `env:"REDIS_MAX_CONNECTIONS" envDefault:"50" min:"1" max:"10000" help:"Redis connections per process, at most"`

	// Timeout is the longest that a request waits for Redis before it takes
	// the fallback. Default 250ms.
	Timeout time.Duration `env:"REDIS_TIMEOUT" envDefault:"250ms" min:"1ms" help:"the longest that a request waits for Redis before it takes the fallback"`
}

// Options returns where Redis is and how to log in, for
// redis.NewUniversalClient: addresses, database, users, passwords, the name of
// a Sentinel master, whether it is a cluster, and TLS. Timeouts, retries and pool sizes are left at
// their zero values, for the caller to set. The error never holds any part of
// URL.
func (r Redis) Options() (*redis.UniversalOptions, error) {
	if r.URL != "" {
		return parseRedisURL(r.URL)
	}
	return &redis.UniversalOptions{
		Addrs:    []string{net.JoinHostPort(r.Host, strconv.Itoa(r.Port))},
		DB:       r.DB,
		Username: r.Username,
		Password: r.Password,
	}, nil
}

const redisForm = "redis://[user:password@]host[:port][/db], the same with rediss://, " +
	"redis-sentinel://[user:password@]host[:port][,host[:port]...]/master[/db], " +
	"redis-cluster://[user:password@]host[:port][,host[:port]...], or the same with rediss-cluster://"

// parseRedisURL reads the forms that Redis.URL documents. It does not use
// url.Parse for the whole, which knows no lists of hosts and quotes the URL in
// its errors.
func parseRedisURL(text string) (*redis.UniversalOptions, error) {
	options, err := readRedisURL(text)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL (value not shown): %w; must be %s", err, redisForm)
	}
	return options, nil
}

func readRedisURL(text string) (*redis.UniversalOptions, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	var sentinel, cluster, encrypted bool
	switch scheme {
	case "redis":
	case "rediss":
		encrypted = true
	case "redis-sentinel":
		sentinel = true
	case "redis-cluster", "rediss-cluster":
		cluster, encrypted = true, scheme == "rediss-cluster"
	default:
		return nil, errors.New("the scheme is not known")
	}

	authority, rawQuery, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(authority, "/")
	if strings.ContainsAny(rest, "# \t\r\n") || strings.Contains(path, "@") {
		return nil, errors.New("special characters of user and password have to be percent-encoded")
	}
	hosts, options := authority, &redis.UniversalOptions{IsClusterMode: cluster}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		hosts = authority[at+1:]
		user, password, _ := strings.Cut(authority[:at], ":")
		var err error
		if options.Username, err = url.PathUnescape(user); err != nil {
			return nil, errors.New("the user is not rightly percent-encoded")
		}
		if options.Password, err = url.PathUnescape(password); err != nil {
			return nil, errors.New("the password is not rightly percent-encoded")
		}
	}

	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, errors.New("the part after ? is not rightly percent-encoded")
	}
	if err := checkRedisQuery(query, sentinel); err != nil {
		return nil, err
	}

	port := "6379"
	if sentinel {
		port = "26379"
		options.SentinelUsername = query.Get("sentinel_username")
		options.SentinelPassword = query.Get("sentinel_password")
		if options.MasterName = query.Get("master"); options.MasterName == "" {
			var name string
			name, path, _ = strings.Cut(path, "/")
			if options.MasterName, err = url.PathUnescape(name); err != nil || name == "" {
				return nil, errors.New("the name of the master is missing or not rightly percent-encoded")
			}
		}
	}
	if options.Addrs, err = redisAddresses(hosts, port, sentinel || cluster); err != nil {
		return nil, err
	}
	if options.DB, err = redisDatabase(strings.TrimSuffix(path, "/"), query.Get("db")); err != nil {
		return nil, err
	}
	if cluster && options.DB != 0 {
		return nil, errors.New("a cluster has no database but 0")
	}
	if encrypted {
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if !cluster { // whose servers have a name each
			options.TLSConfig.ServerName, _, _ = net.SplitHostPort(options.Addrs[0])
		}
	}
	return options, nil
}

func checkRedisQuery(query url.Values, sentinel bool) error {
	for name, values := range query {
		switch name {
		case "db":
		case "master", "sentinel_username", "sentinel_password":
			if !sentinel {
				return fmt.Errorf("%s goes with redis-sentinel:// only", name)
			}
		default:
			return errors.New("it has a parameter that is not known (timeouts and pool sizes are variables of their own)")
		}
		if len(values) > 1 {
			return fmt.Errorf("%s is there more than once", name)
		}
	}
	return nil
}

func redisAddresses(hosts, defaultPort string, many bool) ([]string, error) {
	var addresses []string
	for address := range strings.SplitSeq(hosts, ",") {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			host, port = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), defaultPort
		}
		if !isHost(host) {
			return nil, errors.New("a host is missing or malformed")
		}
		if !isPort(port, 1) {
			return nil, errors.New("a port is not a number from 1 to 65535")
		}
		addresses = append(addresses, net.JoinHostPort(host, port))
	}
	if len(addresses) > 1 && !many {
		return nil, errors.New("several hosts go with redis-sentinel:// and redis-cluster:// only")
	}
	return addresses, nil
}

func redisDatabase(path, parameter string) (int, error) {
	if path != "" && parameter != "" {
		return 0, errors.New("the database is there twice, in the path and as db")
	}
	text := path + parameter
	if text == "" {
		return 0, nil
	}
	database, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errors.New("the database is not a number from 0 to 65535")
	}
	return int(database), nil
}
