// The page: what the server sends, written where it belongs.

import { follow } from "./events.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { LaneView, setFlow, setText } from "./lane.js";

const maxProcesses = 4;

const byId = (id) => document.getElementById(id);
const history = new History();
const lanes = new Map();
const opened = new Date();
let version;
let seen; // when the newest snapshot came, by this machine's clock
let isLost = false;

follow("/events", {
  onHistory: ({ samples }) => history.merge(samples),
  onSnapshot: (snapshot) => {
    // Another version of the server may have another page.
    version ??= snapshot.version;
    if (version !== snapshot.version) return location.reload();
    seen = new Date();
    setLost(false);
    history.add(snapshot);
    showState(snapshot);
    showSystems(snapshot);
    showWorkers(snapshot);
    showLanes(snapshot);
    showDirect(snapshot);
    document.body.classList.remove("waiting");
  },
  onLost: () => setLost(true),
});

setInterval(() => isLost && showLost(), 1000);

function setLost(lost) {
  isLost = lost;
  document.body.classList.toggle("stale", lost);
  byId("lost").hidden = !lost;
  setText(byId("live"), lost ? "not connected" : "live");
  if (lost) showLost();
}

function showLost() {
  const since = seen ?? opened;
  const what = seen ? "The numbers are those of that moment." : "There is no data yet.";
  setText(byId("lost-text"), `No connection to the server since ${format.time(since)}. ${what} Trying again every few seconds.`);
  // Outside the alert, which would be read out each second.
  setText(byId("lost-age"), `(for ${format.age(Math.max(1, (Date.now() - since) / 1000))} now)`);
  document.title = "not connected · tracklane";
}

function showState({ at, status, reasons, distress, version, uptime_seconds }) {
  document.title = `${status} · tracklane`;
  document.body.dataset.status = status;
  setText(byId("status"), status);
  setText(byId("version"), version);
  setText(byId("uptime"), `up ${format.age(uptime_seconds)}`);
  setText(byId("clock"), format.time(new Date(at)));
  byId("clock").dateTime = at;

  showList("distress", distress);
  showList("reasons", reasons);
}

// showList writes lines into a list, which is hidden when there are none.
function showList(id, lines) {
  const list = byId(id).querySelector("ul");
  const texts = lines ?? [];
  const shown = [...list.children].map((item) => item.textContent);
  if (texts.join("\n") !== shown.join("\n")) {
    list.replaceChildren(...texts.map((text) => item(text)));
  }
  byId(id).hidden = texts.length === 0;
}

function showSystems({ status, redis, database, direct, lanes }) {
  const sum = (field) => lanes.reduce((total, lane) => total + lane[field], 0);
  setText(byId("in-total"), format.rate(sum("in_per_second")));
  setText(byId("out-total"), format.rate(sum("out_per_second")));

  let mode = "accepts points into the queues";
  if (status === "unhealthy") mode = "refuses points with 503";
  else if (direct) mode = "writes points directly to the database";
  else if (!redis.connected) mode = "cannot reach Redis";
  setText(byId("mode"), mode);

  byId("redis").classList.toggle("down", !redis.connected);
  const limit = redis.maxmemory_bytes > 0 ? ` of ${format.bytes(redis.maxmemory_bytes)}` : "";
  setText(byId("redis-facts"), redis.connected
    ? `${redis.version}, ${format.milliseconds(redis.latency_ms)}, ${format.bytes(redis.used_memory_bytes)}${limit}`
    : "not reachable");

  byId("postgres").classList.toggle("down", !database.connected);
  const kind = database.timescaledb ? "TimescaleDB" : "PostgreSQL";
  setText(byId("postgres-facts"), database.connected
    ? `${kind}, ${format.milliseconds(database.latency_ms)}`
    : "not reachable");
}

function showWorkers({ at, redis, workers }) {
  const all = redis.connected ? workers ?? [] : [];
  byId("workers").classList.toggle("down", redis.connected && all.length === 0);
  if (!redis.connected) {
    for (const id of ["worker-count", "busy"]) setText(byId(id), format.unknown);
    byId("processes").replaceChildren(item("not known while Redis is down"));
    return;
  }
  const sum = (field) => all.reduce((total, worker) => total + worker[field], 0);
  setText(byId("worker-count"), format.count(all.length));
  setText(byId("worker-word"), all.length === 1 ? "process" : "processes");
  setText(byId("busy"), `${format.count(sum("active"))} of ${format.count(sum("concurrency"))}`);
  const items = all.slice(0, maxProcesses).map((worker) => {
    const row = item("");
    const name = document.createElement("b");
    name.textContent = `${worker.host}:${worker.pid}`;
    const age = Math.max(0, (Date.parse(at) - Date.parse(worker.started_at)) / 1000);
    const load = document.createElement("span");
    load.textContent = `${worker.active} of ${worker.concurrency} busy`;
    const up = document.createElement("span");
    up.textContent = `up ${format.age(age)}`;
    const bar = document.createElement("i");
    bar.style.setProperty("--load", worker.concurrency > 0 ? Math.min(1, worker.active / worker.concurrency) : 0);
    row.append(name, load, up, bar);
    return row;
  });
  if (all.length > maxProcesses) items.push(item(`and ${all.length - maxProcesses} more`));
  byId("processes").replaceChildren(...items);
}

function showLanes(snapshot) {
  byId("pipeline").style.setProperty("--lanes", snapshot.lanes.length);
  const now = Date.parse(snapshot.at) / 1000;
  snapshot.lanes.forEach((lane, position) => {
    if (!lanes.has(lane.name)) lanes.set(lane.name, new LaneView(byId("pipeline"), byId("lane"), position));
    lanes.get(lane.name).show(lane, snapshot, history.columns(lane.name), now);
  });
  const incoming = snapshot.lanes.reduce((total, lane) => total + lane.in_per_second, 0);
  setFlow(document.querySelector(".arrivals"), incoming);
}

function showDirect({ status, redis, database, direct, lanes }) {
  const open = direct && status !== "unhealthy";
  const incoming = lanes.reduce((total, lane) => total + lane.in_per_second, 0);
  byId("direct").classList.toggle("open", open);
  setFlow(byId("direct"), open ? Math.max(incoming, 1) : 0);
  let word = "closed; it opens when Redis cannot accept points";
  if (open) word = `open: ${format.rate(incoming)} points/s go straight to the database`;
  else if (!redis.connected && !database.connected) word = "closed: the database is down as well";
  setText(byId("direct-word"), word);
}

function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}
