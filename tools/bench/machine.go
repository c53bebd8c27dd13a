package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// describeMachine says what the run was measured on.
func (s *system) describeMachine() []string {
	processor, _ := os.ReadFile("/proc/cpuinfo") // without it, less is said
	memory, _ := os.ReadFile("/proc/meminfo")
	kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(fieldAfter(string(memory), "MemTotal:"), " kB"), 10, 64)
	model := strings.TrimSpace(strings.TrimPrefix(fieldAfter(string(processor), "model name"), "\t:"))
	lines := []string{
		fmt.Sprintf("%d cores (%s), %.0f GiB of memory, %s/%s", runtime.NumCPU(), strings.TrimPrefix(model, ": "),
			float64(kilobytes)/(1<<20), runtime.GOOS, runtime.GOARCH),
		fmt.Sprintf("PostgreSQL %s, durable (fsync and synchronous_commit on), without TimescaleDB", s.postgres.Version()),
		s.redis.Name() + ", append-only file, synced before a write is acknowledged",
		runtime.Version(),
	}
	if s.telegraf != "" {
		lines = append(lines, "Telegraf "+telegrafVersion)
	}
	return lines
}
