// Command bench measures tracklane on one machine, together with what it is
// compared with, and writes the result as Markdown.
//
//	go run ./bench --write docs/benchmarks.md
//	go run ./bench --telegraf PATH    with a Telegraf that task bench:telegraf builds
//
// Everything runs in one go, the competitors in turn, so that the ratios hold
// on a noisy machine even where the figures do not. Medians of the repeats are
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
	telegraf string // path of the binary, or empty
	backlog  int    // points waiting before the last measurement, or 0
	write    string // file for the report, or empty
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	var o options
	flag.IntVar(&o.points, "points", 600_000, "points a run")
	flag.IntVar(&o.repeats, "repeats", 3, "repeats, of which the median counts")
	flag.StringVar(&o.telegraf, "telegraf", "", "Telegraf's binary, to compare with")
	flag.IntVar(&o.backlog, "backlog", 0, "measure once more with so many points waiting")
	flag.StringVar(&o.write, "write", "", "write the report to this file")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	s, err := startSystem(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := report{options: o}
	for repeat := range o.repeats {
		for _, c := range cases() {
			fmt.Fprintf(os.Stderr, "repeat %d of %d, %d points a request\n", repeat+1, o.repeats, c.points)
			measured, err := measureCase(ctx, s, c, o)
			if err != nil {
				return fmt.Errorf("%d points a request: %w", c.points, err)
			}
			r.throughput = append(r.throughput, measured)
		}
		drained, err := measureWriter(ctx, s, o.points)
		if err != nil {
			return fmt.Errorf("the writer alone: %w", err)
		}
		r.writer = append(r.writer, drained)
	}
	if r.latency, err = measureLatency(ctx, s); err != nil {
		return fmt.Errorf("latency: %w", err)
	}
	if r.memory, err = measureMemory(ctx, s); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	if o.backlog > 0 {
		if r.backlog, err = measureBacklog(ctx, s, o.backlog); err != nil {
			return fmt.Errorf("backlog: %w", err)
		}
	}
	text := r.markdown()
	fmt.Print(text)
	if o.write == "" {
		return nil
	}
	if err := os.WriteFile(o.write, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
