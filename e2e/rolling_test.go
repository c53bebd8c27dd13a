package e2e

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/clock"
	"tracklane/internal/devservers"
	"tracklane/internal/load"
	"tracklane/internal/process"
)

// balancer is HAProxy with deploy/haproxy.cfg, in front of two ports of this machine.
type balancer struct {
	*process.Process
	url    string
	socket string // where it says how it sees the servers
}

// startBalancer starts HAProxy, or skips t where there is none.
func startBalancer(t *testing.T, ports [2]int) balancer {
	t.Helper()
	program := devservers.FindDaemon("haproxy")
	if program == "" {
		t.Skip("haproxy is not installed")
	}
	text, err := os.ReadFile("../deploy/haproxy.cfg")
	require.NoError(t, err)
	port, err := devservers.FreePort()
	require.NoError(t, err)
	dir := t.TempDir()
	b := balancer{url: fmt.Sprint("http://127.0.0.1:", port), socket: filepath.Join(dir, "socket")}
	configuration := string(text)
	for old, changed := range map[string]string{
		"bind *:80\n":                     fmt.Sprintf("bind 127.0.0.1:%d\n", port),
		"192.0.2.11:8080 check port 8081": fmt.Sprintf("127.0.0.1:%d check", ports[0]),
		"192.0.2.12:8080 check port 8081": fmt.Sprintf("127.0.0.1:%d check", ports[1]),
		"maxconn 4000\n":                  fmt.Sprintf("maxconn 1000\n    stats socket %s\n", b.socket),
	} {
		require.Equal(t, 1, strings.Count(configuration, old), old)
		configuration = strings.Replace(configuration, old, changed, 1)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(file, []byte(configuration), 0o600))
	command := exec.Command(program, "-db", "-f", file)
	command.Stdout, command.Stderr = t.Output(), t.Output()
	b.Process, err = process.Start(command, process.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Kill()) })
	return b
}

// servers is what the balancer says of each server, by the names that it gives that.
func (b balancer) servers() (servers []map[string]string, err error) {
	connection, err := net.Dial("unix", b.socket)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	if _, err = io.WriteString(connection, "show stat -1 4 -1\n"); err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(connection).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, row := range rows[min(1, len(rows)):] {
		server := make(map[string]string)
		for i, name := range rows[0] {
			server[name] = row[i]
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// awaitUp waits until the balancer sends requests to both servers.
func (b balancer) awaitUp(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		servers, err := b.servers()
		return err == nil && len(servers) == 2 && servers[0]["status"] == "UP" && servers[1]["status"] == "UP"
	}, time.Minute, 20*time.Millisecond, "the balancer does not see both servers")
}

// restart stops a process as a supervisor does, and starts it again on its port.
func restart(t *testing.T, old child, command string, environment ...string) child {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	require.NoError(t, old.Stop(ctx, syscall.SIGTERM))
	require.NoError(t, old.Wait(), "it stops in order")
	return startProcessOn(t, old.port, command, environment...)
}

// postThrough posts load until ctx ends, and checks what became of it.
func postThrough(ctx context.Context, t *testing.T, options load.Options) {
	report, err := load.Run(ctx, options, io.Discard)
	t.Logf("%s: %d requests, %v, p99 %v, the longest %v, %+v", options.Lane, report.Requests, report.Responses,
		report.Latency.P99, report.Latency.Max, report.Verification)
	assert.NoError(t, err, options.Lane)
	for status := range report.Responses {
		assert.Contains(t, []int{http.StatusAccepted, http.StatusCreated, http.StatusServiceUnavailable}, status, options.Lane)
	}
}

// comeAgain posts a point every 20 ms until ctx ends, and counts those accepted. It may
// be told to come again, which a machine that is too busy to respond to probes does,
// and has to get in within 10 s.
func comeAgain(ctx context.Context, t *testing.T, url string, count *atomic.Int64) {
	client := http.Client{Timeout: 20 * time.Second}
	accepted := time.Now()
	for i := 0; clock.Sleep(ctx, 20*time.Millisecond); i++ {
		response, err := client.Post(url+"/live", "application/json", strings.NewReader(flight(fmt.Sprint("again-", i), 1)))
		if !assert.NoError(t, err) {
			return
		}
		assert.NoError(t, response.Body.Close())
		if response.StatusCode == http.StatusServiceUnavailable {
			assert.NotEmpty(t, response.Header.Get("Retry-After"))
			assert.Less(t, time.Since(accepted), 10*time.Second)
			continue
		}
		assert.Contains(t, []int{http.StatusAccepted, http.StatusCreated}, response.StatusCode)
		accepted = time.Now()
		count.Add(1)
	}
}

// TestRollingRestart_LosesNothing restarts two APIs and two workers behind HAProxy one
// after another while clients post, as an upgrade does.
func TestRollingRestart_LosesNothing(t *testing.T) {
	parallelUnlessFull(t)
	rounds, rate := 1, 100.0
	if *full {
		rounds, rate = 5, 1000
	}
	database := servers.Database(t)
	migrate(t, database)
	environment := []string{
		"DATABASE_URL=" + database, "REDIS_URL=" + servers.Redis(t).URL(),
		"TRUSTED_PROXIES=127.0.0.1", "MIGRATE_ON_START=false", "SHUTDOWN_TIMEOUT=30s",
	}
	var apis, workers [2]child
	for i := range apis {
		apis[i], workers[i] = startProcess(t, "api", environment...), startProcess(t, "worker", environment...)
	}
	b := startBalancer(t, [2]int{apis[0].port, apis[1].port})
	b.awaitUp(t)

	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	for _, options := range []load.Options{
		{Lane: "live", PointsPerRequest: 1, Connections: 32, Rate: rate},
		{Lane: "upload", PointsPerRequest: 1000, Connections: 4, Rate: rate / 20},
	} {
		options.URL, options.Duration, options.Verify, options.DatabaseURL = b.url, time.Hour, true, database
		clients.Go(func() { postThrough(ctx, t, options) })
	}
	var accepted atomic.Int64
	clients.Go(func() { comeAgain(ctx, t, b.url, &accepted) })
	for range rounds {
		for i := range apis {
			b.awaitUp(t)
			// Within these 2 s the balancer has asked twice.
			enough := accepted.Load() + 100
			require.Eventually(t, func() bool { return accepted.Load() >= enough }, time.Minute, 20*time.Millisecond)
			apis[i] = restart(t, apis[i], "api", environment...)
			workers[i] = restart(t, workers[i], "worker", environment...)
		}
	}
	b.awaitUp(t)
	seen, err := b.servers()
	require.NoError(t, err)
	for _, server := range seen {
		for _, failed := range []string{"econ", "eresp", "wretr", "wredis"} { // connections and responses; tried again, and elsewhere
			assert.Equal(t, "0", server[failed], "%s: %s", server["svname"], failed)
		}
	}
}
