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

	"tracklane/internal/devservers"
)

// victim is a process that can be made to suffer.
type victim interface {
	Kill() error
	Stop(context.Context) error
	Pause() error
	Resume() error
	Restart(context.Context) error
}

// stage is the whole system: the two servers, four processes of tracklane, and
// a link for each pair that talks. The harness itself goes past the links.
type stage struct {
	folder    string
	postgres  *devservers.Postgres
	redis     *devservers.Redis
	processes map[string]*process
	links     map[string]*link

	database *pgxpool.Pool
	queues   *redis.Client
}

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second
)

// errNoRedis says that a run cannot be carried out on this machine.
var errNoRedis = errors.New("there is no redis-server on PATH: install one, the embedded one cannot crash")

// openStage builds tracklane and starts everything in a new folder. died is
// called when a process of tracklane ends though nobody ended it. What was
// started is stopped again when openStage returns an error.
func openStage(ctx context.Context, appendSync string, died func(error)) (opened *stage, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	folder, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the run: %w", err)
	}
	s := &stage{folder: folder, processes: make(map[string]*process), links: make(map[string]*link)}
	defer func() {
		if err != nil {
			s.close()
			err = fmt.Errorf("%w; see %s", err, folder)
		}
	}()
	// PostgreSQL runs as another user when the harness is root's.
	if err := os.Chmod(folder, 0o755); err != nil {
		return nil, err
	}
	binary := filepath.Join(folder, "system-under-test")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "tracklane/cmd/tracklane").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build tracklane: %w: %s", err, output)
	}
	s.postgres, err = devservers.StartPostgres(ctx, devservers.PostgresOptions{
		Dir: filepath.Join(folder, "postgresql"), Durable: true,
	})
	if err != nil {
		return nil, err
	}
	s.redis, err = devservers.StartRedis(ctx, devservers.RedisOptions{
		Dir: filepath.Join(folder, "redis"), Arguments: []string{"--appendfsync", appendSync},
	})
	if err != nil {
		return nil, err
	}
	if s.redis.InMemory() {
		return nil, errNoRedis
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.prepareDatabase(ctx, binary); err != nil {
		return nil, err
	}
	return s, s.startProcesses(ctx, binary, died)
}

// connect opens the harness's own connections.
func (s *stage) connect(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(s.postgres.DSN())
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	config.MaxConns = 4
	config.ConnConfig.ConnectTimeout = 2 * time.Second
	config.ConnConfig.RuntimeParams["application_name"] = harnessName
	if s.database, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	options, err := redis.ParseURL(s.redis.URL())
	if err != nil {
		return fmt.Errorf("read the URL of Redis: %w", err)
	}
	options.MaxRetries, options.DialerRetries = -1, 1
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = time.Second, time.Second, time.Second
	s.queues = redis.NewClient(options)
	return nil
}

func (s *stage) startProcesses(ctx context.Context, binary string, died func(error)) error {
	for _, name := range slices.Concat(apiNames, workerNames) {
		database, err := s.throughLink(linkName(name, postgresName), s.postgres.DSN())
		if err != nil {
			return err
		}
		queues, err := s.throughLink(linkName(name, redisName), s.redis.URL())
		if err != nil {
			return err
		}
		port, err := devservers.FreePort()
		if err != nil {
			return err
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		command, _, _ := strings.Cut(name, "-")
		s.processes[name] = &process{
			binary: binary, command: command, died: died,
			logFile: filepath.Join(s.folder, name+".log"),
			environment: []string{
				"HTTP_ADDR=" + address, "DATABASE_URL=" + database, "REDIS_URL=" + queues,
				"FLYMASTER_SECRET=" + flymasterSecret, "LOG_FORMAT=text",
				"SHUTDOWN_TIMEOUT=" + shutdownTimeout.String(),
			},
		}
		if slices.Contains(apiNames, name) {
			if err := s.addLink(linkName(clientsName, name), address); err != nil {
				return err
			}
		}
		if err := s.processes[name].Restart(ctx); err != nil {
			return err
		}
		if err := listens(ctx, address); err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
	}
	return nil
}

// throughLink opens a link to the server of a URL and returns that URL with the
// link's address in it.
func (s *stage) throughLink(name, serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", fmt.Errorf("read a server's URL: %w", err)
	}
	if err := s.addLink(name, u.Host); err != nil {
		return "", err
	}
	u.Host = s.links[name].address()
	return u.String(), nil
}

func (s *stage) addLink(name, server string) error {
	l, err := openLink(server)
	if err != nil {
		return err
	}
	s.links[name] = l
	return nil
}

// listens returns when something takes connections at an address.
func listens(ctx context.Context, address string) error {
	for {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return connection.Close()
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// victim returns a server or a process by its name.
func (s *stage) victim(name string) victim {
	switch name {
	case postgresName:
		return s.postgres
	case redisName:
		return s.redis
	}
	return s.processes[name]
}

// apis lists the ways into the system.
func (s *stage) apis() []api {
	var apis []api
	for _, name := range apiNames {
		apis = append(apis, api{name, "http://" + s.links[linkName(clientsName, name)].address()})
	}
	return apis
}

// close stops everything. The folder stays.
func (s *stage) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var failures []error
	for _, name := range slices.Sorted(maps.Keys(s.processes)) {
		if p := s.processes[name]; p.running != nil {
			failures = append(failures, p.Kill())
		}
	}
	for _, l := range s.links {
		l.close()
	}
	if s.database != nil {
		s.database.Close()
	}
	if s.queues != nil {
		failures = append(failures, s.queues.Close())
	}
	var servers sync.WaitGroup
	var stopped [2]error
	if s.redis != nil {
		servers.Go(func() { stopped[0] = s.redis.Stop(ctx) })
	}
	if s.postgres != nil {
		servers.Go(func() { stopped[1] = s.postgres.Stop(ctx) })
	}
	servers.Wait()
	return errors.Join(append(failures, stopped[:]...)...)
}
