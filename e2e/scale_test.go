package e2e

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/devservers"
	"tracklane/internal/load"
)

// TestScale_MoreProcessesOnOneMachine measures what docs/scale.md says of several APIs
// and workers on one machine, with the generator and the servers beside them.
func TestScale_MoreProcessesOnOneMachine(t *testing.T) {
	if !*full {
		t.Skip("takes minutes of the whole machine: -full")
	}
	for _, points := range []int{1, 100} {
		for _, n := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("%d points a request, %d of each", points, n), func(t *testing.T) { measureScale(t, n, points) })
		}
	}
}

// measureScale posts to n APIs as fast as they take it, 64 requests at a time in all,
// while n workers write, and logs how many points were stored in a second.
func measureScale(t *testing.T, n, points int) {
	postgres := servers.Postgres(t, devservers.PostgresOptions{Durable: true})
	server := servers.Redis(t)
	migrate(t, postgres.DSN())
	environment := []string{"DATABASE_URL=" + postgres.DSN(), "REDIS_URL=" + server.URL(), "MIGRATE_ON_START=false"}
	var apis, workers []child
	for range n {
		apis, workers = append(apis, startProcess(t, "api", environment...)), append(workers, startProcess(t, "worker", environment...))
	}
	apiTime, workerTime, redisTime := processorTime(t, apis), processorTime(t, workers), redisProcessorTime(t, server)

	var (
		mu     sync.Mutex
		stored int64
		p99    time.Duration
		took   time.Duration
		runs   sync.WaitGroup
	)
	start := time.Now()
	for _, api := range apis {
		runs.Go(func() {
			report, err := load.Run(t.Context(), load.Options{
				URL: api.url, Lane: "live", PointsPerRequest: points, Connections: 64 / n, Duration: 8 * time.Second,
				Verify: true, DatabaseURL: postgres.DSN(),
			}, io.Discard)
			if !assert.NoError(t, err) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			stored += int64(report.Verification.Stored)
			p99 = max(p99, report.Latency.P99)
			took = max(took, report.Duration+report.Verification.Took)
		})
	}
	runs.Wait()
	t.Logf("%d points a request, %d APIs and %d workers: %.0f points/s stored, p99 %v; seconds of CPU a million points: API %.2f, worker %.2f, Redis %.2f (the run took %v)",
		points, n, n, float64(stored)/took.Seconds(), p99, perMillion(processorTime(t, apis)-apiTime, stored),
		perMillion(processorTime(t, workers)-workerTime, stored), perMillion(redisProcessorTime(t, server)-redisTime, stored), time.Since(start))
}

func perMillion(seconds float64, points int64) float64 { return seconds / float64(points) * 1e6 }

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
