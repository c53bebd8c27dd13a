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
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/redisinfo"
)

// RedisOptions says how a Redis is to run.
type RedisOptions struct {
	// Dir is the folder of the server's data, lock and log, for this server
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
}

// Redis is a Redis server that runs as a child of this process, or in it. Its
// methods may be called from several goroutines.
type Redis struct {
	name   string
	port   int
	launch launch

	mu       sync.Mutex // held while the server starts, stops, or is signalled
	lock     folderLock
	process  *process
	embedded *embeddedRedis // nil where the server is a real one
}

// StartRedis starts the redis-server or valkey-server on PATH on a free port of
// the loopback interface, with an append-only file that is synced each second,
// and returns when it answers, after 30 s at the latest. Where there is none it
// starts a server in this process, which keeps its data in memory only. The
// caller must Stop it. Should the caller die before, so does the server.
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	binary, name := findRedis(ctx)
	if options.Embedded || binary == "" {
		return startEmbeddedRedis()
	}
	r := &Redis{name: name}
	if err := r.startIn(ctx, binary, options); err != nil {
		return nil, fmt.Errorf("start Redis in %s: %w", options.Dir, err)
	}
	return r, nil
}

func (r *Redis) startIn(ctx context.Context, binary string, options RedisOptions) error {
	dir, err := makeFolder(options.Dir)
	if err != nil {
		return err
	}
	r.lock.path = filepath.Join(dir, "redis.lock")
	if err := r.lock.acquire(); err != nil {
		return err
	}
	pidFile := filepath.Join(dir, "redis.pid")
	if pid, err := stopOrphan(ctx, pidFile, dir, syscall.SIGTERM); err != nil {
		r.lock.release()
		return err
	} else if pid != 0 {
		orDiscard(options.Logger).Info("Stopped a Redis that a killed process had left", "pid", pid)
	}
	r.launch = launch{
		command: func(port int) *exec.Cmd {
			arguments := []string{
				"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--pidfile", pidFile,
				"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
				// Small tasks lie close together: 400 instead of 700 bytes for a
				// point that comes alone. Since Redis 7 the names say listpack; all
				// versions know these.
				"--hash-max-ziplist-value", "512", "--zset-max-ziplist-entries", "1024",
			}
			command := exec.Command(binary, append(arguments, options.Arguments...)...)
			command.Dir = dir
			return command
		},
		deathSignal: syscall.SIGKILL, // the append-only file makes it safe, and it ends a paused server too
		logFile:     filepath.Join(dir, "redis.log"),
		answers:     redisAnswers,
	}
	if r.process, r.port, err = r.launch.start(ctx, 0); err != nil {
		r.lock.release()
		return err
	}
	return nil
}

// redisAnswers returns nil when the server on port has read its data, takes
// clients, and is the process pid.
func redisAnswers(ctx context.Context, port, pid int) error {
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

// PID is the id of the server's process, another one after each start. It is
// this process's own for the server in it.
func (r *Redis) PID() int {
	if r.embedded != nil {
		return os.Getpid()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.pid()
}

// URL is where the server is reached. It stays the same through restarts.
func (r *Redis) URL() string { return "redis://" + address(r.port) + "/0" }

// Name is which server it is, such as "redis-server 7.0.15".
func (r *Redis) Name() string { return r.name }

// InMemory says whether the data ends with this process.
func (r *Redis) InMemory() bool { return r.embedded != nil }

// Stop shuts the server down; its data is kept, but for the embedded one's. A
// server that has not stopped after 10 s, or when ctx is done, is killed, which
// is an error. Stopping a stopped server does nothing.
func (r *Redis) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.embedded != nil {
		r.embedded.stop()
		return nil
	}
	defer r.lock.release()
	if err := r.process.stop(ctx, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop Redis: %w", err)
	}
	return nil
}

// Kill ends the server by SIGKILL, as a crash would. The embedded server only
// ends its connections.
func (r *Redis) Kill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.embedded != nil {
		r.embedded.stop()
		return nil
	}
	defer r.lock.release()
	if err := r.process.kill(); err != nil {
		return fmt.Errorf("kill Redis: %w", err)
	}
	return nil
}

// errEmbedded says what cannot be done to a server in this process.
var errEmbedded = errors.New("the embedded Redis cannot be paused")

// Pause keeps the server from running: connections stay open, and nothing
// answers.
func (r *Redis) Pause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.embedded != nil {
		return errEmbedded
	}
	if err := r.process.pause(); err != nil {
		return fmt.Errorf("pause Redis: %w", err)
	}
	return nil
}

// Resume ends a Pause.
func (r *Redis) Resume() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.embedded != nil {
		return errEmbedded
	}
	if err := r.process.resume(); err != nil {
		return fmt.Errorf("resume Redis: %w", err)
	}
	return nil
}

// Restart starts a server that was stopped or killed, with its data and on its
// port, and returns when it answers, after 30 s at the latest.
func (r *Redis) Restart(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.embedded != nil {
		return r.embedded.restart()
	}
	if r.process.running() {
		return errors.New("restart Redis: it runs; stop it first")
	}
	err := r.lock.acquire()
	if err == nil {
		var running *process
		if running, _, err = r.launch.start(ctx, r.port); err == nil {
			r.process = running
		} else {
			r.lock.release()
		}
	}
	if err != nil {
		return fmt.Errorf("restart Redis: %w", err)
	}
	return nil
}

// embeddedRedis is a Redis in this process. Its keys grow older only when they
// are told to.
type embeddedRedis struct {
	server *miniredis.Miniredis
	stop   func() // more than once does no harm
}

// embeddedTick is how often the embedded server's keys are told.
const embeddedTick = 500 * time.Millisecond

func startEmbeddedRedis() (*Redis, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	e := &embeddedRedis{server: miniredis.NewMiniRedis()}
	if err := e.server.StartAddr(address(port)); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	e.tick()
	return &Redis{name: "embedded Redis (miniredis)", port: port, embedded: e}, nil
}

func (e *embeddedRedis) restart() error {
	if err := e.server.Restart(); err != nil {
		return fmt.Errorf("restart the embedded Redis: %w", err)
	}
	e.tick()
	return nil
}

func (e *embeddedRedis) tick() {
	ctx, cancel := context.WithCancel(context.Background())
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(embeddedTick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				e.server.FastForward(embeddedTick)
			case <-ctx.Done():
				return
			}
		}
	})
	e.stop = sync.OnceFunc(func() {
		cancel()
		ticking.Wait()
		e.server.Close()
	})
}
