package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tracklane/tools/harness"
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
// a proxy for each pair that talks.
type testbed struct {
	*harness.System
	processes map[string]*harness.Program
	proxies   map[string]*proxy

	database *pgxpool.Pool
	queues   redis.UniversalClient

	servers    atomic.Int64 // started by failovers
	appendSync string       // Redis's appendfsync
	disk       *disk        // of Redis alone; nil where this process may not mount
	noDisk     error        // why
}

const (
	startTimeout = 2 * time.Minute

	// shutdownTimeout is what the processes are told to stop within.
	shutdownTimeout = 15 * time.Second

	// stopGrace is how much longer than that a process may take.
	stopGrace = 5 * time.Second
)

// openTestbed builds tracklane and starts everything in a new directory. died is
// called when a process of tracklane ends though nobody ended it. What was
// started is stopped again when openTestbed returns an error.
func openTestbed(ctx context.Context, o options, died func(error)) (opened *testbed, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tb := &testbed{appendSync: o.appendSync, processes: make(map[string]*harness.Program), proxies: make(map[string]*proxy)}
	servers := harness.Options{Name: "chaos", RedisArguments: []string{"--appendfsync", o.appendSync}}
	if o.cluster {
		servers.RedisCluster, servers.RedisArguments = true, append(servers.RedisArguments, clusterArguments()...)
	} else {
		servers.RedisDirs = tb.makeDisk(ctx)
	}
	tb.System, err = harness.Open(ctx, servers)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w; see %s", errors.Join(err, tb.close()), tb.Dir)
		}
	}()
	if err := tb.connect(ctx); err != nil {
		return nil, err
	}
	return tb, tb.startProcesses(ctx, died)
}

// makeDisk gives Redis a disk of its own, where that can be done.
func (tb *testbed) makeDisk(ctx context.Context) func(dir string) (string, func() error, error) {
	return func(dir string) (string, func() error, error) {
		if tb.disk, tb.noDisk = mountDisk(ctx, dir); tb.noDisk != nil {
			return dir, func() error { return nil }, nil
		}
		return tb.disk.dir, tb.disk.unmount, nil
	}
}

// connect opens the harness's own connections, through proxies that only ever
// change where they lead.
func (tb *testbed) connect(ctx context.Context) error {
	database, err := tb.throughProxy(proxyName(harnessName, postgresName), tb.Postgres.DSN())
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return fmt.Errorf("read the database's URL: %w", err)
	}
	config.MaxConns = 4
	config.ConnConfig.ConnectTimeout = 2 * time.Second
	config.ConnConfig.RuntimeParams["application_name"] = harnessName
	if tb.database, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	options := &redis.UniversalOptions{
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
	}
	if tb.Cluster != nil {
		options.IsClusterMode, options.MaxRetries = true, 0 // it is sent to another server then
		for _, server := range tb.Cluster.Servers {
			options.Addrs = append(options.Addrs, server.Address())
		}
	} else {
		if err := tb.addProxy(proxyName(harnessName, redisName), tb.Redis.Address()); err != nil {
			return err
		}
		options.Addrs = []string{tb.proxies[proxyName(harnessName, redisName)].address()}
	}
	tb.queues = redis.NewUniversalClient(options)
	return nil
}

// redisFor returns the REDIS_URL of a process: through a proxy, but for the servers of a
// cluster, whose addresses come from the cluster. The proxy is closed for one API.
func (tb *testbed) redisFor(process string) (string, error) {
	if tb.Cluster != nil {
		return tb.Cluster.URL(), nil
	}
	queues, err := tb.throughProxy(proxyName(process, redisName), tb.Redis.URL())
	if err == nil {
		tb.proxies[proxyName(process, redisName)].set(conditions{Cut: process == apiNames[0]})
	}
	return queues, err
}

func (tb *testbed) startProcesses(ctx context.Context, died func(error)) error {
	for _, name := range slices.Concat(apiNames, workerNames) {
		database, err := tb.throughProxy(proxyName(name, postgresName), tb.Postgres.DSN())
		if err != nil {
			return err
		}
		queues, err := tb.redisFor(name)
		if err != nil {
			return err
		}
		// The database is out of reach until it is migrated.
		tb.proxies[proxyName(name, postgresName)].set(conditions{Cut: true})
		address, err := harness.FreeAddress()
		if err != nil {
			return err
		}
		role, _, _ := strings.Cut(name, "-")
		environment := tb.Environment("HTTP_ADDR="+address, "DATABASE_URL="+database, "REDIS_URL="+queues,
			"FLYMASTER_SECRET="+flymasterSecret, "LOG_FORMAT=text", "SHUTDOWN_TIMEOUT="+shutdownTimeout.String())
		program := &harness.Program{
			Command: func() *exec.Cmd {
				command := exec.Command(tb.Binary, role)
				command.Env = environment
				return command
			},
			LogFile: filepath.Join(tb.Dir, name+".log"), StopTimeout: shutdownTimeout + stopGrace, Died: died,
		}
		tb.processes[name] = program
		if slices.Contains(apiNames, name) {
			if err := tb.addProxy(proxyName(clientsName, name), address); err != nil {
				return err
			}
		}
		if err := program.Restart(ctx); err != nil {
			return err
		}
		if err := program.AwaitResponse(ctx, "http://"+address+"/livez", http.StatusOK); err != nil {
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
	p, err := openProxy(server)
	if err != nil {
		return err
	}
	tb.proxies[name] = p
	return nil
}

// target returns a server or a process by its name.
func (tb *testbed) target(name string) target {
	switch name {
	case postgresName:
		return tb.Postgres
	case redisName:
		return tb.Redis
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
	var failures []error
	for _, name := range slices.Sorted(maps.Keys(tb.processes)) {
		if p := tb.processes[name]; p.Process != nil {
			failures = append(failures, p.Kill())
		}
	}
	for _, p := range tb.proxies {
		p.close()
	}
	if tb.database != nil {
		tb.database.Close()
	}
	if tb.queues != nil {
		failures = append(failures, tb.queues.Close())
	}
	return errors.Join(append(failures, tb.Stop())...)
}
