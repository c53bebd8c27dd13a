package devservers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/process"
	"tracklane/internal/redisinfo"
)

// RedisOptions says how a Redis is to run.
type RedisOptions struct {
	// Dir is the directory of the server's data, lock and log, for this server
	// alone. It is made when it is missing; data in it is used again. The
	// embedded server needs none.
	Dir string
	// Logger hears of what is unusual about the start; nil: nobody does.
	Logger *slog.Logger
	// Embedded takes the server in this process even where a real one is
	// installed.
	Embedded bool
	// Arguments are added to those of a real server.
	Arguments []string
	// ReplicaOf is the address, as host:port, of the master that a new server
	// replicates, its own or that of a proxy; empty: it is a master. Afterwards it
	// is what REPLICAOF and Sentinel made it, through restarts, too. The embedded
	// server cannot be one.
	ReplicaOf string
}

// Redis is a Redis server that runs as a child of this process, or in it. Its
// methods may be called from several goroutines.
type Redis struct {
	redisServer
	name     string
	port     int
	inMemory bool
}

// replicationPoll is how often a replica is asked whether it has caught up.
const replicationPoll = 50 * time.Millisecond

// redisServer is what can be done to a Redis. For a child of this process, server
// says how; embeddedRedis keeps its data through Stop and Kill, which only end its
// connections, and cannot be paused.
type redisServer interface {
	PID() int
	Stop(ctx context.Context) error
	Kill() error
	Pause() error
	Resume() error
	Restart(ctx context.Context) error
}

// StartRedis starts the redis-server or valkey-server on PATH on a free port of
// the loopback interface, with an append-only file that is synced before a write
// is acknowledged, and returns when it responds, after 30 s at the latest. Where
// there is none it starts a server in this process, which keeps its data in memory
// only. The caller must Stop it. Should the caller die before, so does the server.
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	binary, name := findRedis(ctx)
	if options.Embedded || binary == "" {
		if options.ReplicaOf != "" {
			return nil, errors.New("start a replica: the embedded Redis replicates nothing, install redis-server or valkey-server")
		}
		return startEmbeddedRedis()
	}
	s, err := startRedis(ctx, binary, options)
	if err != nil {
		return nil, fmt.Errorf("start Redis in %s: %w", options.Dir, err)
	}
	return &Redis{redisServer: s, name: name, port: s.port}, nil
}

func startRedis(ctx context.Context, binary string, options RedisOptions) (*server, error) {
	dir, err := makeDir(options.Dir)
	if err != nil {
		return nil, err
	}
	lock := directoryLock{path: filepath.Join(dir, "redis.lock")}
	if err := lock.acquire(); err != nil {
		return nil, err
	}
	pidFile := filepath.Join(dir, "redis.pid")
	if pid, err := stopOrphan(ctx, pidFile, dir, syscall.SIGTERM); err != nil {
		lock.release()
		return nil, err
	} else if pid != 0 {
		orDiscard(options.Logger).Info("Stopped a Redis that a killed process had left", "pid", pid)
	}
	// What REPLICAOF and Sentinel change is written back into this file.
	configFile := filepath.Join(dir, "redis.conf")
	if err := createConfig(configFile, replicaConfig(options.ReplicaOf)); err != nil {
		lock.release()
		return nil, err
	}
	s := &server{
		name: "Redis", directory: dir, stopSignal: syscall.SIGTERM, lock: lock,
		launcher: launcher{
			command: func(port int) *exec.Cmd {
				arguments := append([]string{configFile}, redisArguments(dir, pidFile, port)...)
				command := exec.Command(binary, append(arguments, options.Arguments...)...)
				command.Dir = dir
				return command
			},
			process: process.Options{
				DeathSignal: syscall.SIGKILL, // the append-only file makes it safe, and it ends a paused server too
				LogFile:     filepath.Join(dir, "redis.log"),
			},
			check: checkRedis,
		},
	}
	return s, s.start(ctx)
}

// redisArguments are those of the program redis-server.
func redisArguments(dir, pidFile string, port int) []string {
	return []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--pidfile", pidFile,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction",
		// Small tasks lie close together: 400 instead of 700 bytes for a point that
		// comes alone. Since Redis 7 the names say listpack; all versions know these.
		"--hash-max-ziplist-value", "512", "--zset-max-ziplist-entries", "1024", "--auto-aof-rewrite-min-size", "512mb",
	}
}

// replicaConfig is the configuration of a replica of the server at an address, or
// that of a master if the address is empty.
func replicaConfig(address string) string {
	host, port, _ := strings.Cut(address, ":")
	if host == "" {
		return ""
	}
	return "replicaof " + host + " " + port + "\n"
}

// createConfig writes a configuration file unless it exists.
func createConfig(file, content string) error {
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(file, []byte(content), 0o644)
}

// checkRedis returns nil if the server on port has read its data, accepts
// clients, and is the process pid.
func checkRedis(ctx context.Context, port, pid int) error {
	client := redis.NewClient(&redis.Options{Addr: address(port), MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return err
	}
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if redisinfo.Parse(info)["process_id"] != strconv.Itoa(pid) {
		return errors.New("the server there is another one")
	}
	return nil
}

var redisVersion = regexp.MustCompile(`v=([0-9.]+)`)

// findRedis returns the path of a Redis on this machine and its name with its
// version, or nothing.
func findRedis(ctx context.Context) (binary, name string) {
	for _, program := range []string{"redis-server", "valkey-server"} {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		output, err := exec.CommandContext(ctx, path, "--version").Output()
		if version := redisVersion.FindSubmatch(output); err == nil && version != nil {
			return path, program + " " + string(version[1])
		}
	}
	return "", ""
}

// URL is where the server is reached. It stays the same through restarts.
func (r *Redis) URL() string { return "redis://" + address(r.port) + "/0" }

// Address is where the server is reached, as host:port. It stays the same through
// restarts.
func (r *Redis) Address() string { return address(r.port) }

// AwaitReplication returns when the server, a replica, has copied its master's
// data and receives what the master goes on to write. The error is that of ctx,
// with the last reason why not.
func (r *Redis) AwaitReplication(ctx context.Context) error {
	client := redis.NewClient(&redis.Options{Addr: r.Address(), MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	for {
		info, err := client.Info(ctx, "replication").Result()
		state := redisinfo.Parse(info)
		if err == nil && state["master_link_status"] == "up" && state["master_sync_in_progress"] == "0" {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("its role is %q and its link %q", state["role"], state["master_link_status"])
		}
		select {
		case <-time.After(replicationPoll):
		case <-ctx.Done():
			return fmt.Errorf("wait for the replica %s: %w: %w", r.Address(), ctx.Err(), err)
		}
	}
}

// Name is which server it is, such as "redis-server 7.0.15".
func (r *Redis) Name() string { return r.name }

// InMemory reports whether the data ends with this process.
func (r *Redis) InMemory() bool { return r.inMemory }

// embeddedRedis is a Redis in this process, with its data in memory. Its keys
// grow older only when they are told to.
type embeddedRedis struct {
	redis *miniredis.Miniredis

	mu  sync.Mutex
	end func() // ends the connections and the ageing; more than once does no harm
}

// embeddedTick is how often the embedded server's keys are told.
const embeddedTick = 500 * time.Millisecond

func startEmbeddedRedis() (*Redis, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	e := &embeddedRedis{redis: miniredis.NewMiniRedis()}
	if err := e.redis.StartAddr(address(port)); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	e.tick()
	return &Redis{redisServer: e, name: "embedded Redis (miniredis)", port: port, inMemory: true}, nil
}

// PID is this process's own.
func (e *embeddedRedis) PID() int { return os.Getpid() }

// Stop ends the server's connections; its data is kept.
func (e *embeddedRedis) Stop(context.Context) error { return e.Kill() }

// Kill ends the server's connections; its data is kept.
func (e *embeddedRedis) Kill() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
	return nil
}

// errEmbedded says what cannot be done to a server in this process.
var errEmbedded = errors.New("the embedded Redis cannot be paused")

// Pause fails.
func (e *embeddedRedis) Pause() error { return errEmbedded }

// Resume fails.
func (e *embeddedRedis) Resume() error { return errEmbedded }

// Restart starts a server that was stopped or killed, with its data and on its
// port.
func (e *embeddedRedis) Restart(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.redis.Restart(); err != nil {
		return fmt.Errorf("restart the embedded Redis: %w", err)
	}
	e.tick()
	return nil
}

// tick lets the server's keys grow older until end.
func (e *embeddedRedis) tick() {
	ctx, cancel := context.WithCancel(context.Background())
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(embeddedTick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				e.redis.FastForward(embeddedTick)
			case <-ctx.Done():
				return
			}
		}
	})
	e.end = sync.OnceFunc(func() {
		cancel()
		ticking.Wait()
		e.redis.Close()
	})
}
