package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Machine says where a run was made.
type Machine struct {
	Cores       int
	Processor   string // its model, or empty
	MemoryBytes int64  // 0: unknown
	Platform    string // such as linux/amd64
	Go          string // such as go1.26.0
	PostgreSQL  string // its version, such as 15.18
	TimescaleDB string // its version, or empty: there is none
	Redis       string // such as redis-server 7.0.15
}

// ThisMachine describes the machine and the servers of a system, whose database
// is asked through pool for its TimescaleDB. That has to be migrated.
func (s *System) ThisMachine(ctx context.Context, pool *pgxpool.Pool) (Machine, error) {
	m := Machine{
		Cores: runtime.NumCPU(), Processor: processorModel(), MemoryBytes: memoryBytes(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		PostgreSQL: s.Postgres.Version(), Redis: s.redisName(),
	}
	err := pool.QueryRow(ctx, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").Scan(&m.TimescaleDB)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return m, fmt.Errorf("ask for the version of TimescaleDB: %w", err)
	}
	return m, nil
}

// Memory is the memory in words.
func (m Machine) Memory() string {
	if m.MemoryBytes == 0 {
		return "unknown memory"
	}
	return fmt.Sprintf("%.1f GiB of memory", float64(m.MemoryBytes)/(1<<30))
}

// Database is PostgreSQL and TimescaleDB in words.
func (m Machine) Database() string {
	if m.TimescaleDB == "" {
		return "PostgreSQL " + m.PostgreSQL + " without TimescaleDB"
	}
	return "PostgreSQL " + m.PostgreSQL + " with TimescaleDB " + m.TimescaleDB
}

// String describes the machine in one line.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores, %s, %s, %s, %s, %s", m.Cores, m.Memory(), m.Platform, m.Go, m.Database(), m.Redis)
}

// memoryBytes is the machine's memory, or 0 where the system does not say it.
func memoryBytes() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	var kilobytes int64
	if err == nil {
		_, err = fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes)
	}
	if err != nil {
		return 0
	}
	return kilobytes << 10
}

// processorModel is the processor's model, or empty where the system does not say it.
func processorModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // there is none but on Linux
	for line := range strings.Lines(string(text)) {
		if name, model, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return ""
}
