// Command chaos tries to make tracklane lose a point, store one twice or make
// one up. It runs PostgreSQL, Redis, two APIs and two workers, sends points on
// all lanes, breaks whatever can break, at random but by a seed, and then
// compares what was acknowledged with what is stored.
//
// The database is a TimescaleDB where one is installed beside the PostgreSQL that
// is found first on PATH. Redis has a small disk of its own if this process may
// mount one; otherwise the faults of that disk are left out, and the report says
// so.
//
//	go run ./tools/chaos --minutes 30 --seed 1 --report report.md
//	go run ./tools/chaos --minutes 30 --seed 1 --redis-cluster
//
// The exit status is 0 when nothing was wrong, 1 when something was or the run
// could not be carried out, 2 for wrong usage. The data and logs of a run that
// was not good are kept, and their directory is printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The exit statuses.
const (
	exitDone = iota
	exitFailed
	exitUsage
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:]))
}

// command does what the arguments say and returns the exit status.
func command(ctx context.Context, arguments []string) int {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	minutes := flags.Float64("minutes", 30, "how long the faults go on; one `minute` at the least")
	seed := flags.Uint64("seed", 1, "repeats the faults of an earlier run")
	appendSync := flags.String("appendfsync", "always", "Redis's appendfsync: everysec or always")
	cluster := flags.Bool("redis-cluster", false, "let Redis be a cluster of three masters with a replica each")
	report := flags.String("report", "", "write the report to this `file` as well, in Markdown")
	switch err := flags.Parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	case flags.NArg() > 0 || *minutes < 1:
		fmt.Fprintln(os.Stderr, "chaos: it takes no arguments but flags, and at least one minute")
		return exitUsage
	}
	found, err := run(ctx, options{
		seed: *seed, duration: time.Duration(*minutes * float64(time.Minute)), progress: os.Stderr, appendSync: *appendSync, cluster: *cluster,
	})
	if err == nil {
		err = writeReport(&found, *report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return exitFailed
	}
	if len(found.violations()) > 0 {
		fmt.Fprintln(os.Stderr, "chaos: tracklane broke its promises; data and logs are in", found.dir)
		return exitFailed
	}
	return exitDone
}

// writeReport prints the report, and writes it to a file when one is named.
func writeReport(found *outcome, file string) error {
	if err := found.write(os.Stdout); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if file == "" {
		return nil
	}
	to, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := errors.Join(found.write(to), to.Close()); err != nil {
		return fmt.Errorf("write the report to %s: %w", file, err)
	}
	return nil
}
