package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tracklane/tools/harness"
)

// report is what one run measured.
type report struct {
	options
	machine    harness.Machine
	peers      []peer
	peerRuns   []peerRun
	losses     []peerLoss
	notices    []string      // about peers that were left out
	throughput []throughput  // one for each workload and repeat
	writer     []writerAlone // one for each repeat
	latency    [][]latency   // one for each repeat, by case
	memory     memory
	backlog    backlog
}

// document is Markdown in the making.
type document struct{ strings.Builder }

func (d *document) line(format string, values ...any) { fmt.Fprintf(d, format+"\n", values...) }

func (r report) markdown() string {
	var d document
	d.line("# Benchmarks\n")
	command := fmt.Sprintf("go run ./tools/bench --points %d --repeats %d", r.points, r.repeats)
	if r.telegraf {
		command += " --telegraf"
	}
	if r.backlog != (backlog{}) {
		command += fmt.Sprintf(" --backlog %d", r.options.backlog)
	}
	d.line("Measured on %s by\n\n    %s\n", time.Now().UTC().Format(time.DateOnly), command)
	d.line("on one machine with generator, API, Redis, workers and PostgreSQL all on it:\n")
	r.writeMachine(&d)
	d.line("\nThe values are medians of %d repeats of %d points; each repeat lets all competitors run one after",
		r.repeats, r.points)
	d.line("another, and a ratio is the median of the ratios within each repeat. tracklane runs with its defaults.")
	r.writePeers(&d)
	r.writeThroughput(&d)
	r.writeUsage(&d)
	r.writeWriter(&d)
	r.writeLatency(&d)
	r.writeMemory(&d)
	r.writeBacklog(&d)
	r.writeRepeats(&d)
	return d.String()
}

func (r report) writeMachine(d *document) {
	m := r.machine
	d.line("- %d cores (%s), %s, %s", m.Cores, cmp.Or(m.Processor, "unknown"), m.Memory(), m.Platform)
	d.line("- %s, durable (fsync and synchronous_commit on)", m.Database())
	d.line("- %s, append-only file, synced before a write is acknowledged", m.Redis)
	d.line("- %s", m.Go)
	if r.telegraf {
		d.line("- Telegraf %s", telegrafVersion)
	}
}

func (r report) writeThroughput(d *document) {
	d.line("\n## Points a second that reach the table\n")
	d.line("From the first request to the commit of the last row, %d connections; then every point is looked for:", saturation)
	d.line("none is missing, none is stored twice. CopyFrom and `INSERT … SELECT FROM unnest … ON CONFLICT DO NOTHING`")
	d.line("write ready rows into the same keyed table in batches of %d on %d connections, in the order in which",
		batchPoints, baselineConnections)
	d.line("the requests bring them. Telegraf writes into a table without a key, from memory.\n")
	d.line("| points a request | tracklane | CopyFrom | of it | goal | unnest | of it | Telegraf | × Telegraf | goal |")
	d.line("| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- |")
	for _, w := range workloads() {
		runs := r.of(w)
		own := func(t throughput) float64 { return t.tracklane.pointsPerSecond }
		ofCopyFrom := medianOf(runs, func(t throughput) float64 { return own(t) / t.copyFrom })
		share := "–"
		if w.copyFrom > 0 {
			share = fmt.Sprintf("≥ %.0f %%: %s", w.copyFrom*100, atLeast(ofCopyFrom, w.copyFrom))
		}
		telegraf, times, timesGoal := "–", "–", fmt.Sprintf("≥ %.1f: not measured", w.telegraf)
		if r.telegraf {
			ratio := medianOf(runs, func(t throughput) float64 { return own(t) / t.telegraf.pointsPerSecond })
			telegraf = fmt.Sprintf("%.0f", medianOf(runs, func(t throughput) float64 { return t.telegraf.pointsPerSecond }))
			times = fmt.Sprintf("%.2f", ratio)
			timesGoal = fmt.Sprintf("≥ %.1f: %s", w.telegraf, atLeast(ratio, w.telegraf))
		}
		d.line("| %d (`/%s`) | %.0f | %.0f | %.0f %% | %s | %.0f | %.0f %% | %s | %s | %s |", w.points, w.lane,
			medianOf(runs, own), medianOf(runs, func(t throughput) float64 { return t.copyFrom }), ofCopyFrom*100, share,
			medianOf(runs, func(t throughput) float64 { return t.unnest }),
			medianOf(runs, func(t throughput) float64 { return own(t) / t.unnest })*100, telegraf, times, timesGoal)
	}
}

func (r report) writeUsage(d *document) {
	d.line("\n## CPU time and memory of these runs\n")
	d.line("Seconds of CPU time for a million points, and megabytes of memory: the server's peak, and what Redis,")
	d.line("PostgreSQL (shared memory counted once) and the generator have when the last response has come.\n")
	d.line("| | points a request | server | Redis | PostgreSQL | generator | all | server MB | Redis MB | PostgreSQL MB | generator MB |")
	d.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	write := func(name string, w workload, of func(throughput) endToEnd) {
		runs := r.of(w)
		seconds := func(part func(parts[time.Duration]) time.Duration) float64 {
			spent := medianOf(runs, func(t throughput) float64 { return part(of(t).processor).Seconds() })
			return spent * 1e6 / float64(r.points)
		}
		megabytes := func(part func(parts[int64]) int64) float64 {
			return medianOf(runs, func(t throughput) float64 { return float64(part(of(t).memory)) }) / megabyte
		}
		d.line("| %s | %d | %.1f | %.1f | %.1f | %.1f | %.1f | %.0f | %.0f | %.0f | %.0f |", name, w.points,
			seconds(func(p parts[time.Duration]) time.Duration { return p.server }),
			seconds(func(p parts[time.Duration]) time.Duration { return p.redis }),
			seconds(func(p parts[time.Duration]) time.Duration { return p.postgres }),
			seconds(func(p parts[time.Duration]) time.Duration { return p.generator }),
			seconds(parts[time.Duration].sum),
			megabytes(func(p parts[int64]) int64 { return p.server }),
			megabytes(func(p parts[int64]) int64 { return p.redis }),
			megabytes(func(p parts[int64]) int64 { return p.postgres }),
			megabytes(func(p parts[int64]) int64 { return p.generator }))
	}
	for _, w := range workloads() {
		write("tracklane", w, func(t throughput) endToEnd { return t.tracklane })
	}
	if r.telegraf {
		for _, w := range workloads() {
			write("Telegraf", w, func(t throughput) endToEnd { return t.telegraf })
		}
	}
}

func (r report) writeWriter(d *document) {
	const goal = .9
	share := medianOf(r.writer, func(w writerAlone) float64 { return w.drained / w.copyFrom })
	d.line("\n## The writer alone\n")
	d.line("Every point waits in Redis, in batches of %d, before a worker starts; from its first commit to its last:", batchPoints)
	d.line("%.0f points/s, %.0f %% of the %.0f of CopyFrom (goal ≥ %.0f %%: %s).",
		medianOf(r.writer, func(w writerAlone) float64 { return w.drained }), share*100,
		medianOf(r.writer, func(w writerAlone) float64 { return w.copyFrom }), goal*100, atLeast(share, goal))
}

func (r report) writeLatency(d *document) {
	d.line("\n## Latency\n")
	d.line("One point a request to `/live`, for %s. At a rate, the time counts from when a request was due if no", latencyDuration)
	d.line("connection was free then (no coordinated omission). A point is")
	d.line("visible when a SELECT sees it: a probe posts one every %s and looks every %s. Stored is the",
		probeInterval, probeLook)
	d.line("server's own stats, from acceptance to commit.\n")
	d.line("| load | responses/s | p50 | goal | p99 | goal | visible, p99 | goal | stored, p99 |")
	d.line("| --- | ---: | ---: | --- | ---: | --- | ---: | --- | ---: |")
	for i, c := range latencyCases() {
		runs := r.latency[i]
		p50 := medianOf(runs, func(m latency) time.Duration { return m.p50 })
		p99 := medianOf(runs, func(m latency) time.Duration { return m.p99 })
		visible, stored := "–", "–"
		seen := medianOf(runs, func(m latency) time.Duration { return m.visible })
		if c.visible > 0 {
			visible = seen.Round(time.Millisecond).String()
			stored = medianOf(runs, func(m latency) time.Duration { return m.stored }).Round(time.Millisecond).String()
		}
		d.line("| %s | %.0f | %s | %s | %s | %s | %s | %s | %s |", c,
			medianOf(runs, func(m latency) float64 { return m.perSecond }), p50, within(p50, c.p50), p99, within(p99, c.p99),
			visible, within(seen, c.visible), stored)
	}
}

func (r report) writeMemory(d *document) {
	d.line("\n## Memory of waiting points\n")
	d.line("| | measured | goal |")
	d.line("| --- | ---: | --- |")
	bytes := func(what string, measured, goal float64) {
		d.line("| Redis, %s | %.1f bytes | %s |", what, measured, atMost(measured, goal, "bytes"))
	}
	bytes("a point in uploads of 1,000", r.memory.uploads, 64)
	bytes(fmt.Sprintf("a point that comes alone, on %d connections", saturation), r.memory.many, 400)
	bytes("a point that comes alone, on one connection", r.memory.one, 400)
	d.line("| `tracklane api` that accepted %d points, all waiting, at its peak | %.0f MB | – |",
		waitingPoints, float64(r.memory.api)/megabyte)
	serve := float64(r.memory.serve) / megabyte
	d.line("| `tracklane serve` that starts with %d points waiting, at its peak | %.0f MB | %s |",
		waitingPoints, serve, atMost(serve, 150, "MB"))
}

func (r report) writeBacklog(d *document) {
	d.line("\n## With a backlog\n")
	if r.backlog == (backlog{}) {
		d.line("Not measured in this run (`--backlog 5000000`).")
		return
	}
	alone := medianOf(r.writer, func(w writerAlone) float64 { return w.drained })
	d.line("With %d points waiting, a worker writes its first %d at %.0f points/s, %.2f times what it writes",
		r.options.backlog, r.points, r.backlog.drained, r.backlog.drained/alone)
	d.line("when these are all (%.0f). Uploads are accepted at %.0f points/s into the empty queue and at %.0f into",
		alone, r.backlog.acceptedFirst, r.backlog.acceptedLast)
	d.line("the full one. At their peaks, the API has %.0f MB and the worker %.0f MB.",
		float64(r.backlog.api)/megabyte, float64(r.backlog.worker)/megabyte)
}

func (r report) writeRepeats(d *document) {
	d.line("\n## Each repeat\n")
	d.line("| points a request | tracklane | CopyFrom | unnest | Telegraf |")
	d.line("| ---: | ---: | ---: | ---: | ---: |")
	for _, w := range workloads() {
		for _, t := range r.of(w) {
			telegraf := "–"
			if r.telegraf {
				telegraf = fmt.Sprintf("%.0f", t.telegraf.pointsPerSecond)
			}
			d.line("| %d | %.0f | %.0f | %.0f | %s |", t.points, t.tracklane.pointsPerSecond, t.copyFrom, t.unnest, telegraf)
		}
	}
	for _, w := range r.writer {
		d.line("| the writer alone | %.0f | %.0f | – | – |", w.drained, w.copyFrom)
	}
}

// of returns the repeats of a workload.
func (r report) of(w workload) []throughput {
	var runs []throughput
	for _, t := range r.throughput {
		if t.workload == w {
			runs = append(runs, t)
		}
	}
	return runs
}

const megabyte = 1 << 20

// medianOf is the median of a value over the repeats.
func medianOf[R any, F cmp.Ordered](runs []R, value func(R) F) F {
	values := make([]F, len(runs))
	for i, run := range runs {
		values[i] = value(run)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func atLeast(value, goal float64) string { return verdict(value >= goal) }

func atMost(value, goal float64, unit string) string {
	return fmt.Sprintf("≤ %.0f %s: %s", goal, unit, verdict(value <= goal))
}

func within(value, goal time.Duration) string {
	if goal == 0 {
		return "–"
	}
	return fmt.Sprintf("≤ %s: %s", goal, verdict(value <= goal))
}
