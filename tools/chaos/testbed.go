package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/clock"
	"tracklane/internal/devservers"
)

// target is a process that the nemesis can strike.
type target interface {
	Kill() error
	Stop(context.Context) error
	Pause() error
	Resume() error
	Restart(context.Context) error
}

// testbed is the whole system: the two servers, four processes of tracklane, and
// a proxy for each pair that talks. The harness itself goes past the proxies.
type testbed struct {
	dir       string
	postgres  *devservers.Postgres
	redis     *devservers.Redis
	processes map[string]*tracklane
	proxies   map[string]*proxy

	database *pgxpool.Pool
	queues   *redis.Client
}

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second
)

// errNoRedis says that a run cannot be carried out on this machine.
var errNoRedis = errors.New("there is no redis-server on PATH: install one, the embedded one cannot crash")

// openTestbed builds tracklane and starts everything in a new directory. died is
// called when a process of tracklane ends though nobody ended it. What was
// started is stopped again when openTestbed returns an error.
func openTestbed(ctx context.Context, appendSync string, died func(error)) (opened *testbed, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the run: %w", err)
	}
	tb := &testbed{dir: dir, processes: make(map[string]*tracklane), proxies: make(map[string]*proxy)}
	defer func() {
		if err != nil {
			tb.close()
			err = fmt.Errorf("%w; see %s", err, dir)
		}
	}()
	// PostgreSQL runs as another user when the harness is root's.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "system-under-test")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "tracklane/cmd/tracklane").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build tracklane: %w: %s", err, output)
	}
	tb.postgres, err = devservers.StartPostgres(ctx, devservers.PostgresOptions{
		Dir: filepath.Join(dir, "postgresql"), Durable: true,
	})
	if err != nil {
		return nil, err
	}
	tb.redis, err = devservers.StartRedis(ctx, devservers.RedisOptions{
		Dir: filepath.Join(dir, "redis"), Arguments: []string{"--appendfsync", appendSync},
	})
	if err != nil {
		return nil, err
	}
	if tb.redis.InMemory() {
		return nil, errNoRedis
	}
	if err := tb.connect(ctx); err != nil {
		return nil, err
	}
	if err := tb.prepareDatabase(ctx, binary); err != nil {
		return nil, err
	}
	return tb, tb.startProcesses(ctx, binary, died)
}

// connect opens the harness's own connections.
func (tb *testbed) connect(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(tb.postgres.DSN())
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	config.MaxConns = 4
	config.ConnConfig.ConnectTimeout = 2 * time.Second
	config.ConnConfig.RuntimeParams["application_name"] = harnessName
	if tb.database, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	options, err := redis.ParseURL(tb.redis.URL())
	if err != nil {
		return fmt.Errorf("read the URL of Redis: %w", err)
	}
	options.MaxRetries, options.DialerRetries = -1, 1
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = time.Second, time.Second, time.Second
	tb.queues = redis.NewClient(options)
	return nil
}

func (tb *testbed) startProcesses(ctx context.Context, binary string, died func(error)) error {
	for _, name := range slices.Concat(apiNames, workerNames) {
		database, err := tb.throughProxy(proxyName(name, postgresName), tb.postgres.DSN())
		if err != nil {
			return err
		}
		queues, err := tb.throughProxy(proxyName(name, redisName), tb.redis.URL())
		if err != nil {
			return err
		}
		port, err := devservers.FreePort()
		if err != nil {
			return err
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		command, _, _ := strings.Cut(name, "-")
		tb.processes[name] = &tracklane{
			binary: binary, command: command, died: died,
			logFile: filepath.Join(tb.dir, name+".log"),
			environment: []string{
				"HTTP_ADDR=" + address, "DATABASE_URL=" + database, "REDIS_URL=" + queues,
				"FLYMASTER_SECRET=" + flymasterSecret, "LOG_FORMAT=text",
				"SHUTDOWN_TIMEOUT=" + shutdownTimeout.String(),
			},
		}
		if slices.Contains(apiNames, name) {
			if err := tb.addProxy(proxyName(clientsName, name), address); err != nil {
				return err
			}
		}
		if err := tb.processes[name].Restart(ctx); err != nil {
			return err
		}
		if err := listens(ctx, address); err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
	}
	return nil
}

// throughProxy opens a proxy to the server of a URL and returns that URL with the
// proxy's address in it.
func (tb *testbed) throughProxy(name, serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", fmt.Errorf("read a server's URL: %w", err)
	}
	if err := tb.addProxy(name, u.Host); err != nil {
		return "", err
	}
	u.Host = tb.proxies[name].address()
	return u.String(), nil
}

func (tb *testbed) addProxy(name, server string) error {
	l, err := openProxy(server)
	if err != nil {
		return err
	}
	tb.proxies[name] = l
	return nil
}

// listens returns when something takes connections at an address.
func listens(ctx context.Context, address string) error {
	for {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return connection.Close()
		}
		if !clock.Sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// target returns a server or a process by its name.
func (tb *testbed) target(name string) target {
	switch name {
	case postgresName:
		return tb.postgres
	case redisName:
		return tb.redis
	}
	return tb.processes[name]
}

// apis lists the ways into the system.
func (tb *testbed) apis() []api {
	var apis []api
	for _, name := range apiNames {
		apis = append(apis, api{name, "http://" + tb.proxies[proxyName(clientsName, name)].address()})
	}
	return apis
}

// close stops everything. The directory stays.
func (tb *testbed) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var failures []error
	for _, name := range slices.Sorted(maps.Keys(tb.processes)) {
		if p := tb.processes[name]; p.Process != nil {
			failures = append(failures, p.Kill())
		}
	}
	for _, l := range tb.proxies {
		l.close()
	}
	if tb.database != nil {
		tb.database.Close()
	}
	if tb.queues != nil {
		failures = append(failures, tb.queues.Close())
	}
	var servers sync.WaitGroup
	var stopped [2]error
	if tb.redis != nil {
		servers.Go(func() { stopped[0] = tb.redis.Stop(ctx) })
	}
	if tb.postgres != nil {
		servers.Go(func() { stopped[1] = tb.postgres.Stop(ctx) })
	}
	servers.Wait()
	return errors.Join(append(failures, stopped[:]...)...)
}
