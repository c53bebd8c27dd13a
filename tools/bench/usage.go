package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what each part of a run took of the machine.
type usage struct {
	processor parts[time.Duration]
	memory    parts[int64] // bytes: the server's peak, and what the others have
}

// parts has a value for each part of the machine's work.
type parts[T int64 | time.Duration] struct {
	server, redis, postgres, generator T
}

func (p parts[T]) sum() T { return p.server + p.redis + p.postgres + p.generator }

// cpuTime reads the CPU time that was spent until now.
func (s *system) cpuTime(p *server) (spent parts[time.Duration], err error) {
	postgresIDs, err := s.postgresIDs()
	if err != nil {
		return spent, err
	}
	spent.server = processCPUTime(p.PID(), false) + processCPUTime(p.beside, false)
	spent.redis = processCPUTime(s.Redis.PID(), true)
	for _, id := range postgresIDs {
		spent.postgres += processCPUTime(id, true)
	}
	spent.generator = processCPUTime(os.Getpid(), false)
	return spent, nil
}

// memoryInUse reads the memory that is in use now. PostgreSQL's processes share
// most of theirs, which counts once.
func (s *system) memoryInUse(p *server) (inUse parts[int64], err error) {
	postgresIDs, err := s.postgresIDs()
	if err != nil {
		return inUse, err
	}
	inUse.server = processMemory(p.PID(), "status", "VmHWM:")
	inUse.redis = processMemory(s.Redis.PID(), "status", "VmRSS:")
	for _, id := range postgresIDs {
		inUse.postgres += processMemory(id, "smaps_rollup", "Pss:")
	}
	inUse.generator = processMemory(os.Getpid(), "status", "VmRSS:")
	return inUse, nil
}

// postgresIDs returns the ids of PostgreSQL's processes.
func (s *system) postgresIDs() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	ids := []int{s.Postgres.PID()}
	postmaster := strconv.Itoa(s.Postgres.PID())
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := procStat(id); len(fields) > 1 && fields[1] == postmaster {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// procStat returns /proc/PID/stat from the state on, or nothing for a process
// that has ended.
func procStat(id int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// processCPUTime is what a process has spent, with or without the children of it
// that have ended.
func processCPUTime(id int, children bool) time.Duration {
	const user, childrenUser, after = 11, 13, 15 // system times follow the user times
	const tick = time.Second / 100               // on every Linux
	fields := procStat(id)
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

// processMemory reads a line like "VmRSS:  1234 kB" of a process, in bytes; 0 for
// a process that has ended.
func processMemory(id int, file, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", id, file))
	if err != nil {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(fieldAfter(string(text), "\n"+name), " kB"), 10, 64)
	return kilobytes << 10
}

// fieldAfter returns what stands in a text between a name and the end of its line.
func fieldAfter(text, name string) string {
	_, rest, _ := strings.Cut(text, name)
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}
