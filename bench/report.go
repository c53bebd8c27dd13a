package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is what one run measured.
type report struct {
	options
	throughput []throughput // one for each case and repeat
	writer     [][2]float64 // drained and CopyFrom, for each repeat
	latency    []latency
	memory     memory
	backlog    backlog
}

func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}

func (r report) markdown() string {
	var text strings.Builder
	line := func(format string, values ...any) { fmt.Fprintf(&text, format+"\n", values...) }
	line("# Benchmarks\n")
	line("Measured on %s, on one machine of %d cores (%s/%s, %s) with generator, API, Redis (AOF, everysec),",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	line("workers and PostgreSQL (durable, the keyed table) all on it; medians of %d repeats of %d points:\n", r.repeats, r.points)
	command := fmt.Sprintf("go run ./bench --points %d --repeats %d", r.points, r.repeats)
	if r.telegraf != "" {
		command += ` --telegraf "$(go env GOPATH)/bin/telegraf"`
	}
	if r.options.backlog > 0 {
		command += fmt.Sprintf(" --backlog %d", r.options.backlog)
	}
	line("    %s\n", command)
	line("The ratios are medians of the ratios within each repeat. tracklane is points a second from the")
	line("first request to the last row committed, each point verified; CopyFrom and unnest write ready")
	line("rows in batches of 1,000 on 2 connections, in the same run; Telegraf writes into a table without a key.\n")
	line("| points a request | tracklane | CopyFrom | unnest | of CopyFrom | goal | Telegraf | × Telegraf | goal | CPU s per million |")
	line("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, c := range cases() {
		var own, copied, unnest, competitor, ofCopy, ofTelegraf, cpu []float64
		for _, m := range r.throughput {
			if m.points != c.points {
				continue
			}
			own, copied, unnest = append(own, m.tracklane), append(copied, m.copy), append(unnest, m.unnest)
			ofCopy = append(ofCopy, m.tracklane/m.copy)
			cpu = append(cpu, m.cpu.Seconds()/float64(m.sent)*1e6)
			if m.competitor > 0 {
				competitor, ofTelegraf = append(competitor, m.competitor), append(ofTelegraf, m.tracklane/m.competitor)
			}
		}
		competitorText, ratioText := "–", "–"
		if len(competitor) > 0 {
			competitorText, ratioText = fmt.Sprintf("%.0f", median(competitor)), fmt.Sprintf("%.2f", median(ofTelegraf))
		}
		goal := "–"
		if c.copyFrom > 0 {
			goal = fmt.Sprintf("%.0f %%", c.copyFrom*100)
		}
		line("| %d | %.0f | %.0f | %.0f | %.0f %% | %s | %s | %s | %.1f | %.1f |", c.points, median(own), median(copied),
			median(unnest), median(ofCopy)*100, goal, competitorText, ratioText, c.telegraf, median(cpu))
	}
	var drained, ratio []float64
	for _, w := range r.writer {
		drained, ratio = append(drained, w[0]), append(ratio, w[0]/w[1])
	}
	line("\nThe writer alone, with every point in Redis in batches of 1,000, from its first row on: %.0f points/s,", median(drained))
	line("%.0f %% of CopyFrom (goal 90 %%).\n", median(ratio)*100)
	line("| answering | p50 | p99 | goal | 99 %% stored within | goal |")
	line("| --- | ---: | ---: | --- | ---: | --- |")
	for _, l := range r.latency {
		name, goal, stored, storedGoal := fmt.Sprintf("%.0f requests/s", l.rate), "p50 ≤ 1 ms, p99 ≤ 5 ms", "–", "–"
		if l.rate == 0 {
			name, goal = fmt.Sprintf("at saturation, %d connections", l.connections), "p99 ≤ 50 ms"
		}
		if l.endToEnd > 0 {
			stored, storedGoal = l.endToEnd.Round(time.Millisecond).String(), "≤ 2.5 s"
		}
		line("| %s | %s | %s | %s | %s | %s |", name, l.p50.Round(time.Microsecond), l.p99.Round(time.Microsecond), goal, stored, storedGoal)
	}
	const megabyte = 1 << 20
	line("\nRedis memory a waiting point: %.1f bytes in uploads of 1,000 (goal ≤ 64), %.1f bytes in requests of one from", r.memory.batched, r.memory.single)
	line("64 connections (goal ≤ 400). An API that took a million points, all waiting: %d MB resident (goal ≤ 150).", r.memory.resident/megabyte)
	if r.backlog.points > 0 {
		line("\nA backlog of %d points is drained at %.0f points/s while nearly all of it waits and at %.0f at its end;", r.backlog.points, r.backlog.first, r.backlog.last)
		line("the worker takes %d MB.", r.backlog.resident/megabyte)
	}
	return text.String()
}
