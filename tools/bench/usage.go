package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what each part of a run took of the machine.
type usage struct {
	processor parts[time.Duration]
	memory    parts[int64] // bytes: the server's peak, and what the others have
}

// parts has a figure for each part of the machine's work.
type parts[T int64 | time.Duration] struct {
	server, redis, postgres, generator T
}

func (p parts[T]) sum() T { return p.server + p.redis + p.postgres + p.generator }

// used reads the processor time that was spent until now.
func (s *system) used(ctx context.Context, p *process) (spent parts[time.Duration], err error) {
	redisID, postgresIDs, err := s.serverIDs(ctx)
	if err != nil {
		return spent, err
	}
	spent.server = processorTime(p.command.Process.Pid, false)
	spent.redis = processorTime(redisID, true)
	for _, id := range postgresIDs {
		spent.postgres += processorTime(id, true)
	}
	spent.generator = processorTime(os.Getpid(), false)
	return spent, nil
}

// occupied reads the memory that is occupied now. PostgreSQL's processes share
// most of theirs, which counts once.
func (s *system) occupied(ctx context.Context, p *process) (occupied parts[int64], err error) {
	redisID, postgresIDs, err := s.serverIDs(ctx)
	if err != nil {
		return occupied, err
	}
	occupied.server = memoryFigure(p.command.Process.Pid, "status", "VmHWM:")
	occupied.redis = memoryFigure(redisID, "status", "VmRSS:")
	for _, id := range postgresIDs {
		occupied.postgres += memoryFigure(id, "smaps_rollup", "Pss:")
	}
	occupied.generator = memoryFigure(os.Getpid(), "status", "VmRSS:")
	return occupied, nil
}

// serverIDs returns the process ids of Redis, and of PostgreSQL with all of its
// children.
func (s *system) serverIDs(ctx context.Context) (redisID int, postgresIDs []int, err error) {
	text, err := s.queue.Info(ctx, "server").Result()
	if err != nil {
		return 0, nil, fmt.Errorf("ask Redis for its process: %w", err)
	}
	if redisID, err = strconv.Atoi(member(text, "process_id:", "\r\n")); err != nil {
		return 0, nil, fmt.Errorf("read Redis's process id: %w", err)
	}
	file, err := os.ReadFile(filepath.Join(s.postgres.Folder(), "postmaster.pid"))
	if err != nil {
		return 0, nil, fmt.Errorf("read PostgreSQL's process id: %w", err)
	}
	first, _, _ := strings.Cut(string(file), "\n")
	postmaster, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0, nil, fmt.Errorf("read PostgreSQL's process id: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, nil, fmt.Errorf("list processes: %w", err)
	}
	postgresIDs = []int{postmaster}
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := statistics(id); len(fields) > 1 && fields[1] == first {
			postgresIDs = append(postgresIDs, id)
		}
	}
	return redisID, postgresIDs, nil
}

// statistics returns /proc/PID/stat from the state on, or nothing for a process
// that has ended.
func statistics(id int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// processorTime is what a process has spent, with or without the children of it
// that have ended.
func processorTime(id int, children bool) time.Duration {
	const user, childrenUser, after = 11, 13, 15 // system times follow the user times
	const tick = time.Second / 100               // on every Linux
	fields := statistics(id)
	if len(fields) < after {
		return 0
	}
	end := childrenUser
	if children {
		end = after
	}
	var ticks int64
	for _, field := range fields[user:end] {
		n, _ := strconv.ParseInt(field, 10, 64) // the kernel writes numbers
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// memoryFigure reads a line like "VmRSS:  1234 kB" of a process, in bytes; 0 for
// a process that has ended.
func memoryFigure(id int, file, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", id, file))
	if err != nil {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(member(string(text), "\n"+name, "\n"), " kB"), 10, 64)
	return kilobytes << 10
}

// member returns what stands in a text between a name and the end of its line.
func member(text, name, end string) string {
	_, rest, _ := strings.Cut(text, name)
	value, _, _ := strings.Cut(rest, end)
	return strings.TrimSpace(value)
}
