package e2e

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/load"
)

// TestScale_MoreProcessesOnOneMachine measures what docs/scale.md says of several APIs
// and workers on one machine, with the generators and the servers beside them: three
// times each, in turn, forwards and backwards.
func TestScale_MoreProcessesOnOneMachine(t *testing.T) {
	if !*full {
		t.Skip("takes a quarter of an hour of the whole machine: -full")
	}
	for _, points := range []int{1, 100} {
		numbers := []processes{{1, 1}, {2, 2}, {4, 4}, {4, 1}, {1, 4}}
		rates := make(map[processes][]float64)
		for range 3 {
			for _, n := range numbers {
				t.Run(fmt.Sprintf("%d points a request, %s", points, n), func(t *testing.T) {
					rates[n] = append(rates[n], measureScale(t, n, points))
				})
			}
			slices.Reverse(numbers)
		}
		for n, measured := range rates {
			slices.Sort(measured)
			t.Logf("%d points a request, %s: %.0f points/s, the median of %.0f", points, n, measured[len(measured)/2], measured)
		}
	}
}

// processes is how many of each run.
type processes struct{ apis, workers int }

func (n processes) String() string { return fmt.Sprintf("%d APIs and %d workers", n.apis, n.workers) }

// measureScale posts to APIs as fast as they take it, 64 requests at a time in all,
// while workers write, and returns how many points were stored in a second. What is
// written is asked of the processes: to count rows meanwhile takes time from the server
// that writes them, and more with each generator that does so.
func measureScale(t *testing.T, n processes, points int) float64 {
	postgres := servers.Postgres(t, devservers.PostgresOptions{Durable: true})
	server := servers.Redis(t)
	migrate(t, postgres.DSN())
	environment := []string{"DATABASE_URL=" + postgres.DSN(), "REDIS_URL=" + server.URL(), "MIGRATE_ON_START=false"}
	var apis, workers []child
	for range n.apis {
		apis = append(apis, startProcess(t, "api", environment...))
	}
	for range n.workers {
		workers = append(workers, startProcess(t, "worker", environment...))
	}
	written := func() (total int) {
		for _, p := range slices.Concat(apis, workers) {
			total += writtenPoints(t, p.url)
		}
		return total
	}
	apiTime, workerTime, redisTime, postgresTime := processorTime(t, apis), processorTime(t, workers), redisProcessorTime(t, server), postgresProcessorTime(t, postgres)

	var (
		mu           sync.Mutex
		reports      []load.Report
		acknowledged int
		p99          time.Duration
		runs         sync.WaitGroup
	)
	start := time.Now()
	for _, api := range apis {
		runs.Go(func() {
			report, err := load.Run(t.Context(), load.Options{
				URL: api.url, Lane: "live", PointsPerRequest: points, Connections: 64 / n.apis, Duration: 8 * time.Second,
			}, io.Discard)
			if !assert.NoError(t, err) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			reports, acknowledged, p99 = append(reports, report), acknowledged+int(report.AcknowledgedPoints), max(p99, report.Latency.P99)
		})
	}
	runs.Wait()
	answered := time.Since(start)
	require.Eventually(t, func() bool { return written() >= acknowledged }, time.Minute, 20*time.Millisecond)
	took := time.Since(start)
	perMillion := func(seconds float64) float64 { return seconds / float64(acknowledged) * 1e6 }
	t.Logf("%d points a request, %s: %.0f points/s stored, %.0f acknowledged, p99 %v; seconds of CPU a million points: API %.2f, worker %.2f, Redis %.2f, PostgreSQL %.2f",
		points, n, float64(acknowledged)/took.Seconds(), float64(acknowledged)/answered.Seconds(), p99, perMillion(processorTime(t, apis)-apiTime),
		perMillion(processorTime(t, workers)-workerTime), perMillion(redisProcessorTime(t, server)-redisTime), perMillion(postgresProcessorTime(t, postgres)-postgresTime))
	for _, report := range reports {
		found, err := report.Verify(t.Context(), postgres.DSN(), time.Minute)
		require.NoError(t, err)
		require.True(t, found.OK(), "%+v", found)
	}
	return float64(acknowledged) / took.Seconds()
}

// processorTime is how many seconds of CPU processes have used.
func processorTime(t *testing.T, processes []child) (seconds float64) {
	t.Helper()
	for _, p := range processes {
		used, _ := usage(t, p.PID())
		seconds += used
	}
	return seconds
}

func redisProcessorTime(t *testing.T, server *devservers.Redis) (seconds float64) {
	t.Helper()
	seconds, _ = usage(t, server.PID())
	return seconds
}

// postgresProcessorTime is how many seconds of CPU the processes of a server have used
// that run now.
func postgresProcessorTime(t *testing.T, server *devservers.Postgres) (seconds float64) {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", server.PID()))
	require.NoError(t, err)
	for _, pid := range strings.Fields(string(children)) {
		number, err := strconv.Atoi(pid)
		require.NoError(t, err)
		used, _ := usage(t, number)
		seconds += used
	}
	return seconds
}
