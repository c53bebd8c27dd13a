package main

import (
	"fmt"
	"slices"
	"time"
)

// writePeers leads the report: what each of the peers promises, loses and does.
func (r report) writePeers(d *document) {
	if len(r.peers) == 0 {
		return
	}
	d.line("\n## Beside others\n")
	d.line("The same requests to each, and the same rows in a table with the same key unless it says otherwise.")
	for _, notice := range r.notices {
		d.line("%s", notice)
	}
	if r.telegraf {
		d.line("%s", telegrafNotice)
	}
	d.line("\n### What a response promises, and what is lost\n")
	k := usualKilling()
	d.line("%.0f requests a second of one point each, for %s; %d times, every %s, it or PostgreSQL is killed (kill -9)",
		k.rate, k.duration(), k.times, k.every)
	d.line("and started again. Then each acknowledged point is looked for. In the last column, a request of %d points",
		batchPoints)
	d.line("comes of which %d are stored already, as from a client that did not get the response.\n", repeatedPoints)
	d.line("| | a response says | missing after it was killed | after PostgreSQL was | points come again |")
	d.line("| --- | --- | --- | --- | --- |")
	for _, p := range r.peers {
		at := slices.IndexFunc(r.losses, func(l peerLoss) bool { return l.peer == p.name })
		if at < 0 {
			d.line("| %s | %s | – | – | – |", p.name, p.promise)
			continue
		}
		l := r.losses[at]
		d.line("| %s | %s | %s | %s | %s |", p.name, p.promise, l.killed, l.database, l.repeated)
	}
	for _, hypertable := range []bool{false, true} {
		r.writePeerRuns(d, hypertable)
	}
}

func (l loss) String() string {
	text := fmt.Sprintf("%d of %d", l.missing, l.acknowledged)
	if l.missing > 0 {
		text = "**" + text + "**"
	}
	if l.duplicates > 0 {
		text += fmt.Sprintf(", %d twice", l.duplicates)
	}
	return text
}

func (r repetition) String() string {
	switch {
	case r.lost > 0:
		return fmt.Sprintf("**%d new points are lost**", r.lost)
	case r.twice > 0:
		return fmt.Sprintf("%d points are stored twice", r.twice)
	}
	return "the new ones are stored, once"
}

// writePeerRuns writes how fast the peers are on one kind of table.
func (r report) writePeerRuns(d *document, hypertable bool) {
	runs := func(peer string, w workload) []peerRun {
		var found []peerRun
		for _, run := range r.peerRuns {
			if run.peer == peer && run.workload == w && run.hypertable == hypertable {
				found = append(found, run)
			}
		}
		return found
	}
	name := "plain tables"
	if hypertable {
		name = "hypertables"
	}
	if len(runs(ownName, singlePoints())) == 0 {
		return
	}
	d.line("\n### Points a second until the last row, %s\n", name)
	d.line("In brackets, seconds of CPU time of the program, Redis and PostgreSQL for a million points. A run ends after")
	d.line("%d points, or with those sent in %s.\n", r.points, peerDuration)
	d.line("| points a request | 1 | 10 | 100 | 1,000 |")
	d.line("| --- | ---: | ---: | ---: | ---: |")
	for _, p := range r.peers {
		line := "| " + p.name
		for _, w := range workloads() {
			line += " | " + peerCell(runs(p.name, w))
		}
		d.line("%s |", line)
	}
	for _, compared := range []struct {
		name string
		with func(peer) bool
	}{
		{"the fastest other that keeps what it acknowledges", func(p peer) bool { return p.keepsAll && p.name != ownName }},
		{"the fastest of all others", func(p peer) bool { return p.name != ownName }},
	} {
		line := "| tracklane ÷ " + compared.name
		for _, w := range workloads() {
			best := 0.0
			for _, p := range r.peers {
				if measured := runs(p.name, w); compared.with(p) && len(measured) > 0 {
					best = max(best, medianOf(measured, peerRun.speed))
				}
			}
			cell := "–"
			if own := runs(ownName, w); best > 0 && len(own) > 0 {
				cell = fmt.Sprintf("%.2f", medianOf(own, peerRun.speed)/best)
			}
			line += " | " + cell
		}
		d.line("%s |", line)
	}
}

func (p peerRun) speed() float64 { return p.pointsPerSecond }

// cost is the CPU time for a million points.
func (p peerRun) cost() time.Duration {
	return (p.processor.server + p.processor.redis + p.processor.postgres) * 1e6 / time.Duration(max(1, p.points))
}

func peerCell(runs []peerRun) string {
	if len(runs) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f (%.1f)", medianOf(runs, peerRun.speed), medianOf(runs, peerRun.cost).Seconds())
}
