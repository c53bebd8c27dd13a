package devservers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/process"
)

// masterName is what a Sentinel calls its master.
const masterName = "tracklane"

// SentinelOptions says how a Sentinel is to run.
type SentinelOptions struct {
	// Dir is the directory of the Sentinel's state, lock and log, for this one
	// alone. It is made when it is missing; a state in it is used again.
	Dir string
	// Logger hears of what is unusual about the start; nil: nobody does.
	Logger *slog.Logger
	// Master is the address, as host:port, of the master to watch at first. Its
	// replicas are found through it.
	Master string
	// DownAfter is how long a server may be silent before it counts as down.
	DownAfter time.Duration
}

// Sentinel is a Redis Sentinel that runs as a child of this process: alone, it
// decides that its master is down and makes a replica the master. Its methods
// may be called from several goroutines.
type Sentinel struct{ server }

// StartSentinel starts a Sentinel on a free port of the loopback interface and
// returns when it knows its master, after 30 s at the latest. It needs the
// redis-server or valkey-server of StartRedis. The caller must Stop it. Should
// the caller die before, so does the Sentinel.
func StartSentinel(ctx context.Context, options SentinelOptions) (*Sentinel, error) {
	s, err := startSentinel(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("start a Sentinel in %s: %w", options.Dir, err)
	}
	return s, nil
}

func startSentinel(ctx context.Context, options SentinelOptions) (*Sentinel, error) {
	binary, _ := findRedis(ctx)
	if binary == "" {
		return nil, errors.New("there is no redis-server or valkey-server on PATH")
	}
	host, port, err := net.SplitHostPort(options.Master)
	if err != nil {
		return nil, fmt.Errorf("read the master's address: %w", err)
	}
	dir, err := makeDir(options.Dir)
	if err != nil {
		return nil, err
	}
	lock := directoryLock{path: filepath.Join(dir, "sentinel.lock")}
	if err := lock.acquire(); err != nil {
		return nil, err
	}
	pidFile, configFile := filepath.Join(dir, "sentinel.pid"), filepath.Join(dir, "sentinel.conf")
	pid, err := stopOrphan(ctx, pidFile, dir, syscall.SIGTERM)
	if err == nil {
		err = createConfig(configFile, sentinelConfig(host, port, options.DownAfter))
	}
	if err != nil {
		lock.release()
		return nil, err
	}
	if pid != 0 {
		orDiscard(options.Logger).Info("Stopped a Sentinel that a killed process had left", "pid", pid)
	}
	s := &Sentinel{server{
		name: "Sentinel", directory: dir, stopSignal: syscall.SIGTERM, lock: lock,
		launcher: launcher{
			command: func(port int) *exec.Cmd {
				command := exec.Command(binary, configFile, "--sentinel",
					"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--pidfile", pidFile)
				command.Dir = dir
				return command
			},
			process: process.Options{DeathSignal: syscall.SIGKILL, LogFile: filepath.Join(dir, "sentinel.log")},
			check:   checkRedis,
		},
	}}
	return s, s.start(ctx)
}

// failoverTimeout is how long a failover may take before the Sentinel gives it
// up; it begins another one after twice that time.
const failoverTimeout = 5 * time.Second

// sentinelConfig is the first configuration of a Sentinel that decides alone.
func sentinelConfig(host, port string, downAfter time.Duration) string {
	return fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 1\n"+
		"sentinel down-after-milliseconds %[1]s %[4]d\n"+
		"sentinel failover-timeout %[1]s %[5]d\n",
		masterName, host, port, downAfter.Milliseconds(), failoverTimeout.Milliseconds())
}

// URL is what tracklane's REDIS_URL may be, to find the master by this Sentinel.
func (s *Sentinel) URL() string {
	return "redis-sentinel://" + address(s.port) + "/" + masterName
}

// Master is the address, as host:port, of the server that is the master now, as
// far as the Sentinel knows.
func (s *Sentinel) Master(ctx context.Context) (string, error) {
	client := redis.NewSentinelClient(&redis.Options{Addr: address(s.port), MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	found, err := client.GetMasterAddrByName(ctx, masterName).Result()
	if err != nil {
		return "", fmt.Errorf("ask the Sentinel for the master: %w", err)
	}
	return strings.Join(found, ":"), nil
}
