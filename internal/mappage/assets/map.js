// The page: flights from the stream or, in a replay, from their stored tracks, shown
// on the map and in the list as they are at a time.

import * as feed from "./feed.js";
import { gridLayer } from "./grid.js";
import { Replay } from "./replay.js";
import * as state from "./state.js";
import { Chart, colourOf, declutter, PilotView } from "./view.js";

const L = window.L;
const byId = (id) => document.getElementById(id);

// kept is how much of each flight is remembered, in ms.
const kept = 15 * 60_000;

// In a replay hundreds of pilots move ten times a second. A frame has time for sliceTime ms
// of showing them, which makes the browser lay out as many labels, or for as many rows of
// the list.
const sliceTime = 6;
const rowsAtOnce = 15;

const flights = new Map(); // by id: { id, name, pilot, device, fixes, flown, flownTo }
const views = new Map(); // by id
const rows = new Map(); // by id
const chart = new Chart(byId("chart"));
let offset = 0; // of the server's clock from this one, and the delay
let seen; // when the last event came
let calls = []; // for help, oldest first
let chosen = "";
let fitted = false;
let listTimer;
let onMap = []; // whom the map shows
let waiting = []; // who is to be shown of a replay
let isRanked = true; // whether rank has been called since they were
let isRowsTurn = false; // whether the last frame was the list's
let slice; // the request of a frame for showSlice
let soonListed; // what the list will show
let listing = { listed: [], next: 0 }; // what it shows, and which row is to be written next
let ranked = []; // the views in the order of how much they matter

// Leaflet moves what is on the map in three dimensions, which makes each of hundreds of
// names a layer of the browser's own; in two, as for old browsers, all are one.
L.Browser.ie3d = true;
const map = L.map("map", { renderer: L.canvas({ padding: 0.3 }), zoomSnap: 0.5, preferCanvas: true });
map.attributionControl.setPrefix(false);
L.control.scale({ imperial: false, maxWidth: 200 }).addTo(map);
const tiles = document.querySelector("meta[name=tiles]").content;
if (tiles.startsWith("/")) {
  const archive = new window.pmtiles.PMTiles(new URL(feed.address(tiles), location.href).href);
  archive.getHeader().then(({ maxZoom }) => {
    window.pmtiles.leafletRasterLayer(archive, { maxNativeZoom: maxZoom }).addTo(map);
  }, (error) => {
    console.warn("no background:", error);
    gridLayer(L).addTo(map);
  });
} else if (tiles) L.tileLayer(tiles, { attribution: new URL(tiles.replace("{s}", "a")).hostname }).addTo(map);
else gridLayer(L).addTo(map);
map.setView([46.5, 8], 9);
const replay = new Replay({
  get: feed.get,
  onChange: () => render(),
  onOne: (fixes) => map.fitBounds(L.latLngBounds(fixes.map((fix) => [fix[1], fix[2]])).pad(0.2), { animate: false }),
});

// The view in the link, so that it can be shared.
const wanted = new URLSearchParams(location.hash.slice(1));
if (wanted.has("z")) {
  map.setView([Number(wanted.get("lat")), Number(wanted.get("lon"))], Number(wanted.get("z")));
  fitted = true;
}
chosen = wanted.get("flight") ?? "";
byId("filter").value = wanted.get("filter") ?? "";
for (const id of ["show", "colour"]) if (wanted.has(id)) byId(id).value = wanted.get(id);
byId("follow").checked = wanted.has("follow");

function remember() {
  const { lat, lng } = map.getCenter();
  const hash = new URLSearchParams({ lat: lat.toFixed(5), lon: lng.toFixed(5), z: map.getZoom() });
  if (chosen) hash.set("flight", chosen);
  if (chosen && replay.isOn && wanted.has("replay")) hash.set("replay", wanted.get("replay"));
  for (const id of ["filter", "show", "colour"]) if (byId(id).value) hash.set(id, byId(id).value);
  if (byId("follow").checked) hash.set("follow", "1");
  history.replaceState(null, "", `#${hash}`);
}
map.on("moveend", remember);
map.on("zoomend moveend", () => declutter(ranked));

function flightOf({ id, pilot_id, device_id }) {
  if (!flights.has(id)) flights.set(id, { id, name: pilot_id || id, pilot: pilot_id, device: device_id, fixes: [], flown: 0, flownTo: -Infinity });
  return flights.get(id);
}

feed.follow({
  onFlights({ at, delay, flights: news, sos }, isSnapshot) {
    offset = at - delay * 1000 - Date.now();
    seen = Date.now();
    if (isSnapshot) flights.clear();
    if (sos) calls = sos;
    byId("delay").hidden = delay === 0;
    byId("delay").textContent = `delayed by ${age(delay * 1000)}`;
    for (const part of news) add(flightOf(part), part.fixes);
    setLost(false);
    if (isSnapshot) measure();
    if (replay.isOn) showCalls();
    else render();
  },
  onLost: () => setLost(true),
});
setInterval(() => {
  if (document.body.classList.contains("stale")) showLost();
  if (replay.isOn) showCalls();
  else render();
}, 1000);

function add(flight, fixes) {
  state.insert(flight.fixes, fixes);
  for (const fix of fixes) {
    if (fix[0] <= flight.flownTo) continue;
    if (flight.before) flight.flown += state.distance(flight.before, fix);
    flight.before = fix;
    flight.flownTo = fix[0];
  }
  flight.fixes.splice(0, state.indexAfter(flight.fixes, flight.fixes.at(-1)[0] - kept));
}

// measure asks for the way that the flights had flown before the page was opened.
async function measure() {
  try {
    const { flights: list } = await feed.get("/flights", { lane: "live", limit: 200 });
    for (const { id, distance, last_fix: last } of list) {
      const flight = flights.get(id);
      if (!flight) continue;
      const time = Date.parse(last.datetime);
      const since = flight.fixes.slice(Math.max(0, state.indexAfter(flight.fixes, time) - 1));
      flight.flown = distance + state.wayOf(since, Infinity);
    }
    render();
  } catch (error) {
    console.warn("the distances are those since the page was opened:", error);
  }
}

function setLost(lost) {
  document.body.classList.toggle("stale", lost);
  byId("lost").hidden = !lost;
  byId("connection").textContent = lost ? "not connected" : "live";
  if (lost) showLost();
}

function showLost() {
  byId("lost").textContent = seen
    ? `No connection to the server for ${age(Date.now() - seen)}: the map is that of then. Trying again.`
    : "No connection to the server. Trying again.";
}

function render() {
  const now = replay.isOn ? replay.now : Date.now() + offset;
  const shown = replay.isOn ? replay.flights : flights;
  const all = [...shown.values()].map((flight) => ({ flight, is: state.summary(flight.fixes, now) })).filter(({ is }) => is);
  const called = state.callsOf(calls, shown, now);
  const counts = { sos: 0, flying: 0, silent: 0, landed: 0 };
  for (const { flight, is } of all) {
    if (called.has(flight.id)) is.state = "sos";
    counts[is.state]++;
  }
  showCalls();
  const inDistress = counts.sos ? `${counts.sos} SOS, ` : "";
  byId("totals").textContent = all.length ? `${inDistress}${counts.flying} flying, ${counts.silent} silent, ${counts.landed} landed` : "";
  document.title = `${inDistress}${counts.flying} flying, ${counts.silent} silent · tracklane`;
  const text = byId("filter").value.trim().toLowerCase();
  const only = byId("show").value;
  const listed = all.filter(({ flight, is }) => (!only || is.state === only)
    && (!text || `${flight.name} ${flight.id}`.toLowerCase().includes(text)));
  // Who needs a call comes first.
  const order = { sos: 0, silent: 1, flying: 2, landed: 3 };
  listed.sort((a, b) => order[a.is.state] - order[b.is.state] || (a.flight.name < b.flight.name ? -1 : 1));
  byId("empty").hidden = listed.length > 0;
  byId("empty").textContent = all.length ? "No pilot is like that." : "No pilot has sent anything within a day.";
  showViews(listed);
  if (replay.isMoving) showListSoon(listed);
  else showList(listed);
  if (!fitted && listed.length) fit();
}

function showList(listed) {
  clearTimeout(listTimer);
  listTimer = undefined;
  listing = { listed, next: 0 };
  removeRows();
  if (replay.isOn) slice ??= requestAnimationFrame(showSlice);
  else showRows(listed.length);
  showChosen(listed.find(({ flight }) => flight.id === chosen));
}

// showListSoon shows the list some times a second, when what it shows has been written:
// nobody reads numbers that change more often.
function showListSoon(listed) {
  soonListed = listed;
  listTimer ??= setTimeout(() => {
    listTimer = undefined;
    if (hasRowsLeft()) showListSoon(soonListed);
    else showList(soonListed);
  }, 350);
}

// showCalls names everyone who calls for help, on the map or not: those of now while
// an earlier time is replayed, too.
function showCalls() {
  const now = Date.now() + offset;
  const list = calls.filter((call) => call.at <= now);
  const called = state.callsOf(calls, replay.isOn ? replay.flights : flights, now);
  byId("sos").hidden = list.length === 0;
  const entries = list.map((call) => {
    const [id] = [...called].find(([, other]) => other === call) ?? [];
    const who = call.pilot_id || call.device_id || call.flight_id || "somebody";
    const where = call.lat == null ? "" : `, ${call.lat.toFixed(5)} ${call.lon.toFixed(5)}`;
    return { id, key: `${call.at} ${who} ${id}`, text: `SOS ${who}: ${call.says}${where}`, since: `${age(now - call.at)} ago` };
  });
  const key = entries.map((entry) => entry.key).join("\n");
  const shown = byId("sos").querySelector("ul");
  if (shown.dataset.key !== key) {
    shown.dataset.key = key;
    shown.replaceChildren(...entries.map(({ id, text }) => {
      const item = document.createElement("li");
      const line = document.createElement(id ? "button" : "span");
      if (id) line.addEventListener("click", () => show(id));
      line.textContent = text;
      item.append(line, " ", document.createElement("small"));
      return item;
    }));
  }
  entries.forEach(({ since }, i) => { shown.children[i].querySelector("small").textContent = since; });
}

// show chooses a flight and moves the map to it.
function show(id) {
  if (chosen !== id) choose(id);
  const view = views.get(id);
  if (view) map.setView(view.dot.getLatLng(), Math.max(map.getZoom(), 13), { animate: false });
}

function showViews(listed) {
  const ids = new Set(listed.map(({ flight }) => flight.id));
  for (const [id, view] of views) {
    if (ids.has(id)) continue;
    view.remove();
    views.delete(id);
  }
  onMap = listed;
  if (replay.isOn) {
    // Where the last time was left off, so that everybody's turn comes.
    const at = Math.max(0, listed.findIndex(({ flight }) => flight.id === waiting[0]?.flight.id));
    waiting = [...listed.slice(at), ...listed.slice(0, at)];
    isRanked = false;
    slice ??= requestAnimationFrame(showSlice);
  } else {
    waiting = [];
    listed.forEach((entry) => showView(entry, listed.length));
    for (const view of views.values()) view.label();
    rank();
  }
}

// rank hides the names that lie on others: the chosen pilot's matters most, then who comes
// first in the list.
function rank() {
  ranked = [...onMap].sort((a, b) => (b.flight.id === chosen) - (a.flight.id === chosen)).map(({ flight }) => views.get(flight.id)).filter(Boolean);
  declutter(ranked);
}

function showView({ flight, is }, count) {
  if (!views.has(flight.id)) views.set(flight.id, new PilotView(map, flight.name, () => choose(flight.id)));
  const view = views.get(flight.id);
  view.show(is, { byClimb: byId("colour").value === "climb", isChosen: flight.id === chosen, count });
  return view;
}

// showSlice shows what a frame of a replay has time for: some of those who wait or, every
// other frame, some rows of the list. Who is in whose way is looked at in a frame of its
// own, in which the browser has laid all out already.
function showSlice() {
  slice = undefined;
  if (!replay.isOn) return;
  isRowsTurn = hasRowsLeft() && (!isRowsTurn || isRanked);
  if (isRowsTurn) showRows(rowsAtOnce);
  else if (waiting.length > 0) showWaiting();
  else if (!isRanked) {
    isRanked = true;
    rank();
    if (!fitted) fit();
  }
  if (!isRanked || hasRowsLeft()) slice = requestAnimationFrame(showSlice);
}

function showWaiting() {
  const end = performance.now() + sliceTime;
  const shown = [];
  while (waiting.length > 0 && performance.now() < end) shown.push(showView(waiting.shift(), onMap.length));
  for (const view of shown) view.label();
}

function newRow(flight) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  row.role = "row";
  head.role = "rowheader";
  const button = document.createElement("button");
  button.type = "button";
  button.title = flight.id;
  const mark = document.createElement("i");
  mark.style.background = colourOf(flight.name);
  const name = document.createElement("span");
  name.textContent = flight.name;
  button.append(mark, name);
  button.addEventListener("click", () => choose(flight.id));
  head.append(button);
  const cells = Array.from({ length: 6 }, () => document.createElement("td"));
  for (const cell of cells) cell.role = "cell";
  row.append(head, ...cells);
  row.dataset.flight = flight.id;
  return row;
}

const number = (value, digits = 0) => (value == null ? "–" : value.toFixed(digits));
const words = { sos: "✚ SOS", flying: "flying", silent: "‼ silent", landed: "■ landed" };

function removeRows() {
  const ids = new Set(listing.listed.map(({ flight }) => flight.id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
}

const hasRowsLeft = () => listing.next < listing.listed.length;

// showRows writes the next rows of the list, at the most so many.
function showRows(count) {
  const end = Math.min(listing.next + count, listing.listed.length);
  for (; listing.next < end; listing.next++) showRow(listing.listed[listing.next], listing.next);
}

function showRow({ flight, is }, i) {
  if (!rows.has(flight.id)) rows.set(flight.id, newRow(flight));
  const row = rows.get(flight.id);
  row.className = is.state + (flight.id === chosen ? " is-chosen" : "");
  const way = replay.isOn ? flight.ways[state.indexAfter(flight.fixes, is.last[0]) - 1] : flight.flown;
  const texts = [words[is.state], number(is.altitude), is.climb == null ? "–" : `${is.climb > 0 ? "+" : ""}${is.climb.toFixed(1)}`,
    number(is.speed == null ? null : is.speed * 3.6), number(way / 1000, 1), age(is.age)];
  texts.forEach((text, column) => {
    const cell = row.cells[column + 1];
    if (cell.textContent !== text) cell.textContent = text;
  });
  Object.assign(row.dataset, { lastFix: is.last[0], place: `${is.last[1]},${is.last[2]}`, fixes: flight.fixes.length });
  if (byId("pilots").children[i] !== row) byId("pilots").insertBefore(row, byId("pilots").children[i] ?? null);
}

function showChosen(entry) {
  byId("chosen").hidden = !entry;
  if (!entry) return;
  byId("chosen-name").textContent = entry.flight.name;
  chart.show(entry.is.fixes);
  if (byId("follow").checked) map.panTo([entry.is.last[1], entry.is.last[2]], { animate: false });
}

function choose(id) {
  chosen = chosen === id ? "" : id;
  chart.clear();
  remember();
  render();
}

function fit() {
  const places = [...views.values()].map((view) => view.dot.getLatLng());
  if (!places.length) return;
  map.fitBounds(L.latLngBounds(places).pad(0.3), { maxZoom: 14, animate: false });
  fitted = true;
}

// age is a time in ms in words.
function age(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

for (const id of ["filter", "show", "colour", "follow"]) {
  byId(id).addEventListener("input", () => {
    remember();
    render();
  });
}
byId("fit").addEventListener("click", fit);
byId("close").addEventListener("click", () => choose(chosen));
byId("share").addEventListener("click", async () => {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    byId("share").textContent = "copied";
  } catch {
    byId("share").textContent = "copy it from the address bar";
  }
  setTimeout(() => { byId("share").textContent = "copy link"; }, 3000);
});
addEventListener("resize", () => chart.clear());
byId("to-flights").href = feed.address("/flights");
if (wanted.has("replay")) replay.start({ id: chosen, lane: wanted.get("replay") });
