// Command bench measures tracklane on one machine, together with what it is
// compared with, and writes the result as Markdown. It starts what it needs
// and stops it again; it needs Linux, PostgreSQL and a Redis on PATH.
//
//	go run ./tools/bench --write docs/benchmarks.md
//	go run ./tools/bench --telegraf    which it builds first
//
// Everything runs in one go, the competitors in turn, so that the ratios hold
// on a noisy machine even where the values do not. Medians of the repeats are
// reported.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options is what the command line says.
type options struct {
	points   int // a run
	repeats  int
	telegraf bool
	backlog  int    // points waiting in the last measurement, or 0 for none
	write    string // file for the report, or empty
}

func main() {
	var o options
	flag.IntVar(&o.points, "points", 600_000, "points a run, in thousands")
	flag.IntVar(&o.repeats, "repeats", 3, "repeats, of which the median counts")
	flag.BoolVar(&o.telegraf, "telegraf", false, "build Telegraf "+telegrafVersion+" and compare with it")
	flag.IntVar(&o.backlog, "backlog", 0, "measure once more with so many points waiting, such as 5000000")
	flag.StringVar(&o.write, "write", "", "write the report to this file")
	flag.Parse()
	right := o.points >= batchPoints && o.points%batchPoints == 0 && o.repeats >= 1 && (o.backlog == 0 || o.backlog >= o.points)
	if !right || flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: --points takes thousands, --repeats at least 1, --backlog at least --points\n")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the cleaning up
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	s, err := startSystem(ctx, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if o.telegraf {
		if err := s.buildTelegraf(ctx); err != nil {
			return err
		}
	}
	machine, err := s.ThisMachine(ctx, s.pool)
	if err != nil {
		return err
	}
	results := report{options: o, machine: machine}
	if err := comparePeers(ctx, s, &results); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	for repeat := range o.repeats {
		if err := measureRepeat(ctx, s, repeat, &results); err != nil {
			return err
		}
	}
	progress("memory of waiting points")
	if results.memory, err = measureMemory(ctx, s); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	if o.backlog > 0 {
		progress("%d points waiting", o.backlog)
		if results.backlog, err = measureBacklog(ctx, s, o.points, o.backlog); err != nil {
			return fmt.Errorf("backlog: %w", err)
		}
	}
	text := results.markdown()
	fmt.Print(text)
	if o.write == "" {
		return nil
	}
	if err := os.WriteFile(o.write, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// measureRepeat measures once what is measured several times.
func measureRepeat(ctx context.Context, s *system, repeat int, results *report) error {
	o := results.options
	for _, w := range workloads() {
		progress("repeat %d of %d: %d points a request", repeat+1, o.repeats, w.points)
		measured, err := measureThroughput(ctx, s, w, o.points)
		if err != nil {
			return fmt.Errorf("%d points a request: %w", w.points, err)
		}
		results.throughput = append(results.throughput, measured)
	}
	progress("repeat %d of %d: the writer alone", repeat+1, o.repeats)
	alone, err := measureWriter(ctx, s, o.points)
	if err != nil {
		return fmt.Errorf("the writer alone: %w", err)
	}
	results.writer = append(results.writer, alone)
	for i, latencyCase := range latencyCases() {
		progress("repeat %d of %d: latency, %s", repeat+1, o.repeats, latencyCase)
		measured, err := measureLatency(ctx, s, latencyCase)
		if err != nil {
			return fmt.Errorf("latency, %s: %w", latencyCase, err)
		}
		if repeat == 0 {
			results.latency = append(results.latency, nil)
		}
		results.latency[i] = append(results.latency[i], measured)
	}
	return nil
}

func progress(format string, values ...any) { fmt.Fprintf(os.Stderr, format+"\n", values...) }
