package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// violations lists what is wrong with tracklane; nothing, when a run is good.
func (o *outcome) violations() []string {
	var lines []string
	c := o.comparison
	if c.Missing > 0 {
		lines = append(lines, o.describeLosses()...)
	}
	if c.Duplicates > 0 {
		lines = append(lines, fmt.Sprintf("duplicate points: %d", c.Duplicates))
	}
	lines = append(lines, c.unexpected.list("rows that no client sent")...)
	if c.rejected > 0 {
		lines = append(lines, fmt.Sprintf("good points in rejected_points: %d rows", c.rejected))
	}
	for _, name := range c.plain {
		lines = append(lines, "a table of points that is no hypertable: "+name)
	}
	if w := o.totals.longestMended; w.time > maxMendedWait {
		lines = append(lines, fmt.Sprintf("a row came %s after the last fault that kept it was over: "+
			"lane %s, stream %d, request %d, acknowledged at %s",
			w.time.Round(time.Millisecond), makeStreams()[w.stream].lane, w.stream, w.number, w.at.Round(time.Millisecond)))
	}
	if c.archived > 0 {
		lines = append(lines, fmt.Sprintf("tasks in asynq's archive: %d", c.archived))
	}
	if o.totals.unacknowledgedRequests > 0 {
		lines = append(lines, fmt.Sprintf("clients whose last request was not acknowledged within %s of the last fault: %d",
			finishTimeout, o.totals.unacknowledgedRequests))
	}
	lines = append(lines, o.responses.wrong.list("responses that break the contract")...)
	var failures findings
	for _, i := range o.incidents {
		if i.failure != nil {
			failures.add(fmt.Sprintf("%s: %v", i, i.failure))
		}
	}
	return append(lines, failures.list("faults that were not overcome")...)
}

// describeLosses lists acknowledged requests that were lost, with what happened
// at the time.
func (o *outcome) describeLosses() []string {
	var list findings
	streams := makeStreams()
	for _, l := range o.comparison.losses {
		s := streams[l.stream]
		flight, _ := s.place(l.number)
		code := 202
		if l.direct {
			code = 201
		}
		text := fmt.Sprintf("%s, stream %d, request %d (flight %s): %d of %d points, acknowledged with %d at %s",
			s.lane, l.stream, l.number, s.identity(flight), l.points, s.points, code, l.acknowledged.Round(time.Millisecond))
		for _, i := range during(o.incidents, l.acknowledged-requestTimeout, l.acknowledged+requestTimeout) {
			text += "\n      " + i.String()
			after := i.start - l.acknowledged
			if i.Kind == kill && i.Target == redisName && !l.direct && after > -time.Second && after < 3*time.Second {
				text += fmt.Sprintf(" — %s after the acknowledgement: Redis responds before it writes while a sync is under way",
					after.Round(time.Millisecond))
			}
		}
		list.add(text)
	}
	return append([]string{fmt.Sprintf("acknowledged points missing: %d", o.comparison.Missing)},
		list.list("requests they came with")...)
}

// maxMendedWait is how long an acknowledged point may take to its table once what
// kept it from there is mended.
const maxMendedWait = time.Minute

// mended returns when the last fault ended that kept points from their tables
// between two times, or the first of them if there was none: a fault of Redis, of
// its queues, of PostgreSQL, of a worker or of its ways to these.
func (o *outcome) mended(acknowledged, seen time.Duration) time.Duration {
	last := acknowledged
	for _, i := range o.incidents {
		holds := i.Target == redisName || i.Target == postgresName || i.Target == queuesName ||
			slices.ContainsFunc(workerNames, func(worker string) bool { return strings.HasPrefix(i.Target, worker) })
		if holds && i.ended != 0 && i.start <= seen && i.ended <= seen {
			last = max(last, i.ended)
		}
	}
	return last
}

// slowGrace is how long after a fault a response may still be slow for it: what
// was ended starts, connections are opened again, and what was held up is done.
const slowGrace = 5 * time.Second

// attribution says what made responses take longer than slowResponse.
type attribution struct {
	all         int
	byFault     map[string]slowCount
	unexplained findings
}

// slowCount is how many slow responses there were, and how many of them on the
// lane live.
type slowCount struct{ all, live int }

// attribute finds the fault of each slow response.
func (o *outcome) attribute() attribution {
	a := attribution{all: len(o.responses.slow), byFault: make(map[string]slowCount)}
	for _, s := range o.responses.slow {
		start, end := s.start.Sub(o.start), s.end.Sub(o.start)
		if name := o.faultBehind(s, start, end); name != "" {
			count := a.byFault[name]
			count.all++
			if s.lane == "live" {
				count.live++
			}
			a.byFault[name] = count
			continue
		}
		a.unexplained.add(fmt.Sprintf("%s/%s, %d points: %d after %s at %s", s.api, s.lane, s.points, s.status,
			(end - start).Round(time.Millisecond), start.Round(time.Millisecond)))
	}
	return a
}

// faultBehind names what a response of an API was slow for, or nothing: a fault of
// that API or on a way to or from it, of a server that all APIs use, or what other
// clients send.
func (o *outcome) faultBehind(s slow, start, end time.Duration) string {
	if s.points == largeUpload {
		return "uploads of 13 MB, themselves"
	}
	found := ""
	for _, i := range during(o.incidents, start-slowGrace, end) {
		if i.start > end {
			continue
		}
		switch class := targetClass(i.Target); {
		case i.Target == s.api, class == proxyClass && strings.Contains(i.Target, s.api):
			return fmt.Sprintf("%s of %s", i.Kind, class)
		case class == redisName, class == postgresName, class == clientsName, class == queuesName,
			i.Kind == stopInOutage: // Redis is down for the other APIs, too
			found = fmt.Sprintf("%s of %s", i.Kind, class)
		}
	}
	return found
}

// write writes the report, in Markdown.
func (o *outcome) write(to io.Writer) error {
	var b strings.Builder
	line := func(format string, arguments ...any) { fmt.Fprintf(&b, format+"\n", arguments...) }
	t, c := o.totals, o.comparison
	milliseconds := func(d time.Duration) string { return d.Round(time.Millisecond).String() }

	line("## Seed %d, %s\n", o.options.seed, o.options.duration)
	clusterFlag := ""
	if o.options.cluster {
		clusterFlag = " --redis-cluster"
	}
	line("`go run ./tools/chaos --minutes %.3g --seed %d --appendfsync %s%s` on %s.\n",
		o.options.duration.Minutes(), o.options.seed, o.options.appendSync, clusterFlag, o.machine)
	line("| result | |\n| --- | ---: |")
	line("| faults injected | %d |", len(o.incidents))
	line("| points acknowledged | %d |", t.points)
	line("| of these committed before the response (201) | %d |", t.directPoints)
	line("| acknowledged points missing | %d |", c.Missing)
	line("| duplicate points | %d |", c.Duplicates)
	line("| rows that no client sent | %d |", c.unexpected.total)
	line("| rows of points that were sent and never acknowledged | %d |", c.Unacknowledged)
	line("| requests acknowledged | %d |", t.requests)
	line("| clients left without an acknowledgement | %d |", t.unacknowledgedRequests)
	line("| longest gap between acknowledgements, ended at %s | %s |", milliseconds(t.ackGapEnded), milliseconds(t.longestAckGap))
	line("| from acknowledgement to row, median (seen each %s) | %s |", pollInterval, milliseconds(t.medianWait))
	line("| from acknowledgement to row, 99th percentile | %s |", milliseconds(t.p99Wait))
	line("| from acknowledgement to row, longest: lane %s, acknowledged at %s | %s |",
		makeStreams()[t.longest.stream].lane, milliseconds(t.longest.at), milliseconds(t.longest.time))
	line("| the same, from when what was broken was mended: lane %s, acknowledged at %s | %s |",
		makeStreams()[t.longestMended.stream].lane, milliseconds(t.longestMended.at), milliseconds(t.longestMended.time))
	slow := o.attribute()
	line("| responses over %s | %d |", slowResponse, slow.all)
	line("| of these without a fault that explains them | %d |", slow.unexplained.total)
	settled := milliseconds(o.settled)
	if !o.isSettled {
		settled = "not within " + settled
	}
	line("| all stored after the last acknowledgement | %s |", settled)
	line("| points that the database had to refuse, each once in rejected_points | %d |", c.refused)
	line("| other rejected points, archived tasks | %d, %d |", c.rejected, c.archived)
	line("| tasks left in the queues, their points stored | %d |\n", c.leftTasks)

	line("| response | count |\n| --- | ---: |")
	for _, status := range slices.Sorted(maps.Keys(o.responses.byStatus)) {
		name := fmt.Sprint(status)
		if status == 0 {
			name = "none: broken or timed out"
		}
		line("| %s | %d |", name, o.responses.byStatus[status])
	}
	line("")
	o.writeSlow(line, slow)
	o.writeFaults(line)
	o.writeNotes(line)
	if o.noDisk != nil {
		line("Left out: %s and %s of redis, which need a disk of its own: %v.\n", redisDiskFull, redisDiskStall, o.noDisk)
	}
	if lines := o.violations(); len(lines) > 0 {
		line("Violations:\n\n```text\n%s\n```", strings.Join(lines, "\n"))
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// writeSlow writes what slow responses were slow for.
func (o *outcome) writeSlow(line func(string, ...any), slow attribution) {
	line("| responses over %s during a fault, or up to %s after it | count | of these of the lane live |\n| --- | ---: | ---: |",
		slowResponse, slowGrace)
	for _, name := range slices.Sorted(maps.Keys(slow.byFault)) {
		line("| %s | %d | %d |", name, slow.byFault[name].all, slow.byFault[name].live)
	}
	line("| none | %d | |\n", slow.unexplained.total)
	if lines := slow.unexplained.list("without a fault"); len(lines) > 0 {
		line("```text\n%s\n```\n", strings.Join(lines, "\n"))
	}
}

// writeFaults writes how many faults of each kind struck whom.
func (o *outcome) writeFaults(line func(string, ...any)) {
	targets := []string{"api", "worker", redisName, postgresName, proxyClass, queuesName, clientsName}
	counts := make(map[kind]map[string]int)
	totals := make(map[string]int)
	lasted := make(map[kind]time.Duration)
	for _, i := range o.incidents {
		if counts[i.Kind] == nil {
			counts[i.Kind] = make(map[string]int)
		}
		target := targetClass(i.Target)
		counts[i.Kind][target]++
		totals[target]++
		lasted[i.Kind] += i.ended - i.start
	}
	line("| fault | %s | all | together |\n| --- |%s ---: | ---: |",
		strings.Join(targets, " | "), strings.Repeat(" ---: |", len(targets)))
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		row, sum := "", 0
		for _, target := range targets {
			row += fmt.Sprintf(" %d |", counts[k][target])
			sum += counts[k][target]
		}
		line("| %s |%s %d | %s |", k, row, sum, lasted[k].Round(time.Second))
	}
	row := ""
	for _, target := range targets {
		row += fmt.Sprintf(" %d |", totals[target])
	}
	line("| all |%s %d | |\n", row, len(o.incidents))
}

// writeNotes writes what those faults did of which that is not plain.
func (o *outcome) writeNotes(line func(string, ...any)) {
	kinds := []kind{redisDiskFull, redisDiskStall, redisFailover, postgresFailover, stopInOutage, buttons, wrongTime}
	line("```text")
	for _, i := range o.incidents {
		if slices.Contains(kinds, i.Kind) || o.options.cluster && i.Target == redisName {
			line("%s", i)
		}
	}
	line("```\n")
}

// proxyClass is that of the targets between two others.
const proxyClass = "proxy"

// targetClass puts the targets of one sort together.
func targetClass(target string) string {
	switch {
	case strings.Contains(target, " to "):
		return proxyClass
	case slices.Contains(apiNames, target):
		return "api"
	case slices.Contains(workerNames, target):
		return "worker"
	}
	return target
}
