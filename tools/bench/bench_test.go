package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/tools/harness"
)

func TestRate(t *testing.T) {
	t.Parallel()
	start := time.Now()
	after := func(seconds, rows int) commit { return commit{start.Add(time.Duration(seconds) * time.Second), rows} }
	commits := []commit{after(0, 100), after(1, 300), after(2, 500), after(10, 1000)}
	for _, c := range []struct {
		name    string
		commits []commit
		rows    int
		want    float64
	}{
		{"from the first commit to the one that completes the rows", commits, 900, 400},
		{"to the last one", commits, 1900, 180},
		{"with fewer rows than asked for", commits, 2000, 0},
		{"with one commit alone", commits[:1], 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.InDelta(t, c.want, rate(c.commits, c.rows), 1e-9)
		})
	}
}

func TestMedianOf(t *testing.T) {
	t.Parallel()
	same := func(n float64) float64 { return n }
	assert.Equal(t, 2.0, medianOf([]float64{3, 1, 2}, same))
	assert.Equal(t, 7.0, medianOf([]float64{7}, same))
	assert.Equal(t, 3.0, medianOf([]float64{4, 1, 2, 3}, same), "the upper one of two")
}

func TestFieldAfter(t *testing.T) {
	t.Parallel()
	const text = "Name:\tx\nVmHWM:\t  1234 kB\nVmRSS:\t 99 kB"
	assert.Equal(t, "1234 kB", fieldAfter(text, "\nVmHWM:"))
	assert.Equal(t, "99 kB", fieldAfter(text, "\nVmRSS:"), "to the end of the text")
	assert.Empty(t, fieldAfter(text, "\nVmSwap:"))
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "met", atLeast(1, 1))
	assert.Equal(t, "**missed**", atLeast(.99, 1))
	assert.Equal(t, "≤ 64 bytes: met", atMost(64, 64, "bytes"))
	assert.Equal(t, "≤ 64 bytes: **missed**", atMost(65, 64, "bytes"))
	assert.Equal(t, "≤ 1ms: **missed**", within(2*time.Millisecond, time.Millisecond))
	assert.Equal(t, "–", within(time.Hour, 0), "without a goal")
}

func TestMakeRows_AreUniqueAndAsManyAsAsked(t *testing.T) {
	t.Parallel()
	for _, w := range workloads() {
		t.Run(fmt.Sprintf("%d points a request", w.points), func(t *testing.T) {
			t.Parallel()
			type key struct {
				flight string
				at     time.Time
			}
			seen := make(map[key]bool)
			for _, r := range makeRows(w, 20_000) {
				seen[key{r.flight, r.at}] = true
			}
			assert.Len(t, seen, 20_000)
		})
	}
}

// madeUp is the report of a run of two repeats with round numbers.
func madeUp() report {
	r := report{
		options: options{points: 1_000_000, repeats: 2, backlog: 5_000_000},
		machine: harness.Machine{Cores: 2, MemoryBytes: 24 << 30, PostgreSQL: "15.18", Redis: "redis-server 7.0.15"},
		writer:  []writerAlone{{400, 500}, {400, 500}},
		memory:  memory{uploads: 50, many: 130, one: 401, api: 100 << 20, serve: 200 << 20},
		backlog: backlog{acceptedFirst: 30, acceptedLast: 20, drained: 200, api: 1 << 20, worker: 2 << 20},
	}
	for range r.repeats {
		for _, w := range workloads() {
			r.throughput = append(r.throughput, throughput{workload: w, copyFrom: 1000, unnest: 400, tracklane: endToEnd{
				pointsPerSecond: 500,
				usage: usage{
					processor: parts[time.Duration]{server: 3 * time.Second, redis: 2 * time.Second, postgres: time.Second},
					memory:    parts[int64]{server: 90 << 20, redis: 30 << 20},
				},
			}})
		}
	}
	for range latencyCases() {
		one := latency{p50: 500 * time.Microsecond, p99: 6 * time.Millisecond, perSecond: 50, visible: 2 * time.Second}
		r.latency = append(r.latency, []latency{one, one})
	}
	return r
}

func TestReport_Markdown(t *testing.T) {
	t.Parallel()
	text := madeUp().markdown()
	for _, line := range []string{
		"    go run ./tools/bench --points 1000000 --repeats 2 --backlog 5000000",
		"- 2 cores (unknown), 24.0 GiB of memory, ",
		"- PostgreSQL 15.18 without TimescaleDB, durable (fsync and synchronous_commit on)",
		"| 1 (`/live`) | 500 | 1000 | 50 % | – | 400 | 125 % | – | – | ≥ 1.2: not measured |",
		"| 1000 (`/upload`) | 500 | 1000 | 50 % | ≥ 75 %: **missed** | 400 | 125 % | – | – | ≥ 2.8: not measured |",
		"| tracklane | 1 | 3.0 | 2.0 | 1.0 | 0.0 | 6.0 | 90 | 30 | 0 | 0 |",
		"400 points/s, 80 % of the 500 of CopyFrom (goal ≥ 90 %: **missed**).",
		"| 50 requests/s | 50 | 500µs | ≤ 1ms: met | 6ms | ≤ 5ms: **missed** | – | – | – |",
		"| Redis, a point that comes alone, on one connection | 401.0 bytes | ≤ 400 bytes: **missed** |",
		"With 5000000 points waiting, a worker writes its first 1000000 at 200 points/s, 0.50 times what it writes",
		"| the writer alone | 400 | 500 | – | – |",
	} {
		assert.Contains(t, text, line+"\n")
	}
	assert.NotContains(t, text, "NaN")

	without := madeUp()
	without.backlog = backlog{}
	assert.Contains(t, without.markdown(), "Not measured in this run (`--backlog 5000000`).")
}

func TestProcessCPUTimeAndMemory_OfARealProcess(t *testing.T) {
	t.Parallel()
	busy := exec.Command("sh", "-c", "while :; do :; done")
	require.NoError(t, busy.Start())
	pid := busy.Process.Pid
	defer func() {
		require.NoError(t, busy.Process.Kill())
		_ = busy.Wait() // it was killed
		assert.Zero(t, processCPUTime(pid, true), "it has ended")
		assert.Zero(t, processMemory(pid, "status", "VmRSS:"))
	}()
	assert.Eventually(t, func() bool { return processCPUTime(pid, false) >= 100*time.Millisecond },
		20*time.Second, 10*time.Millisecond)
	assert.Greater(t, processMemory(pid, "status", "VmRSS:"), int64(100<<10))
	assert.GreaterOrEqual(t, processMemory(pid, "status", "VmHWM:"), processMemory(pid, "status", "VmRSS:"))
	assert.Positive(t, processMemory(os.Getpid(), "smaps_rollup", "Pss:"))
}

func TestWithServer(t *testing.T) {
	t.Parallel()
	never := func(context.Context, *server) error { return nil }
	err := withServer(t.Context(), func() *exec.Cmd { return exec.Command("false") }, "http://127.0.0.1:1", "/", http.StatusOK, never)
	require.Error(t, err, "a process that ends before it is ready")
}

// A few points against real servers: what is sent is stored, and is verified.
func TestMeasure_AFewPoints(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("the benchmarks need /proc")
	}
	s, err := startSystem(t.Context(), false)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.close()) })
	t.Run("throughput", func(t *testing.T) {
		measured, err := measureThroughput(t.Context(), s, uploads(), 4000)
		require.NoError(t, err)
		assert.Positive(t, measured.tracklane.pointsPerSecond)
		assert.Positive(t, measured.copyFrom)
		assert.Positive(t, measured.unnest)
		assert.Positive(t, measured.tracklane.memory.postgres)
		assert.Positive(t, measured.tracklane.memory.redis)

		used, err := s.redisMemory(t.Context())
		require.NoError(t, err)
		assert.Positive(t, used)
	})
	peers, notices := s.peers()
	for _, notice := range notices {
		t.Log("notice:", notice)
	}
	for _, p := range peers {
		if p.name != ownName { // which was measured above, and is killed at length in the chaos test
			t.Run(p.name, func(t *testing.T) { testPeer(t, s, p) })
		}
	}
}
