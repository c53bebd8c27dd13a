// One lane: its queue, its table and the flows between them.

import { Sparkline } from "./chart.js";
import * as format from "./format.js";

// How old the oldest waiting point may be, in seconds, before it shows.
const late = 10;
const tooLate = 60;

export class LaneView {
  #elements = {};
  #root;
  #rates;
  #backlog;

  constructor(pipeline, template, position) {
    const root = template.content.cloneNode(true).querySelector(".lane");
    root.style.setProperty("--position", position);
    root.dataset.accent = position % 4;
    pipeline.append(root);
    this.#root = root;
    for (const element of root.querySelectorAll("[data-field]")) {
      this.#elements[element.dataset.field] = element;
    }
    this.#rates = new Sparkline(root.querySelector(".rates .chart"), ["area", "line"]);
    this.#backlog = new Sparkline(root.querySelector(".backlog .chart"), ["both"]);
  }

  show(lane, { redis, database, direct }, columns, now) {
    // What waits is not known while Redis is down.
    const queued = (write, value) => (redis.connected ? write(value) : format.unknown);
    // Before the first batch there is none to measure.
    const batched = (write, value) => (lane.points_per_batch > 0 ? write(value) : format.unknown);
    const peak = (...lists) => Math.max(0, ...lists.flat());
    const ratePeak = format.rate(peak(columns.in, columns.out));
    const waitingPeak = format.short(peak(columns.waiting));
    const lag = lateness(redis.connected ? lane.oldest_waiting_seconds : 0);
    const texts = {
      name: lane.name,
      rank: `priority ${lane.priority}, weight ${lane.weight}`,
      in: format.rate(lane.in_per_second),
      out: queued(format.rate, lane.out_per_second),
      waiting: queued(format.short, lane.waiting),
      oldest: !redis.connected || lane.waiting === 0 ? "" : `oldest ${format.duration(lane.oldest_waiting_seconds)}`,
      aggregating: queued(format.short, lane.aggregating),
      pending: queued(format.short, lane.pending),
      active: queued(format.short, lane.active),
      retry: queued(format.short, lane.retry),
      archived: queued(format.short, lane.archived),
      batch: batched(format.count, lane.points_per_batch),
      write: batched(format.milliseconds, lane.write_p95_ms),
      "end-to-end": batched(format.milliseconds, lane.end_to_end_p95_ms),
      table: lane.table,
      written: format.count(lane.written_total),
      duplicates: format.short(lane.duplicates_total),
      errors: format.short(lane.errors_total),
      "rate-peak": ratePeak,
      "waiting-peak": waitingPeak,
    };
    for (const [name, text] of Object.entries(texts)) setText(this.#elements[name], text);
    this.#elements.paused.hidden = !lane.paused;

    const marks = this.#root.classList;
    marks.toggle("late", lag === 1);
    marks.toggle("too-late", lag === 2);
    marks.toggle("has-retry", redis.connected && lane.retry > 0);
    marks.toggle("has-archived", redis.connected && lane.archived > 0);
    marks.toggle("has-errors", lane.errors_total > 0);

    setFlow(this.#root.querySelector(".inflow"), redis.connected && !direct ? lane.in_per_second : 0);
    setFlow(this.#root.querySelector(".outflow"), redis.connected && !lane.paused ? lane.out_per_second : 0);
    setFlow(this.#root.querySelector(".writing"), redis.connected && database.connected ? lane.out_per_second : 0);

    this.#rates.show(now, columns.times, columns.in, columns.out);
    this.#backlog.show(now, columns.times, columns.waiting);
    label(this.#root.querySelector(".rates .chart"),
      `${lane.name}: points a second in and written, last 15 minutes, at most ${ratePeak}`);
    label(this.#root.querySelector(".backlog .chart"),
      `${lane.name}: points waiting, last 15 minutes, at most ${waitingPeak}`);
  }
}

// lateness is 0 for in time, 1 for late, 2 for too late.
function lateness(seconds) {
  if (seconds >= tooLate) return 2;
  return seconds >= late ? 1 : 0;
}

function label(element, text) {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
}

// setFlow draws a pipe as wide as many points pass through it each second: one
// step for each tenfold.
export function setFlow(element, perSecond) {
  element.classList.toggle("idle", !(perSecond > 0));
  element.style.setProperty("--width", Math.min(6, 1 + Math.log10(1 + Math.max(0, perSecond))).toFixed(2));
}

// setText leaves alone what does not change, for the sake of screen readers.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
