// The page of flights: each with its facts, its picture, what else there is of it,
// and its files.

import { address, get } from "./feed.js";

const byId = (id) => document.getElementById(id);
const form = byId("search");

// pageSize is how many flights are read at once, lateAfter how long after its last
// fix, in ms, a flight's points are late, and tolerance of a picture in metres.
const pageSize = 30;
const lateAfter = 3_600_000;
const tolerance = 60;
const formats = ["igc", "gpx", "kml", "geojson", "csv"];

const cards = new Map(); // by key: { flight, card, notes }
let refused = [];
let cursor;
let asked = 0; // the number of the search that is shown

const keyOf = ({ lane, id }) => `${lane} ${id}`;
const anchorOf = ({ lane, id }) => `${lane}-${encodeURIComponent(id)}`;

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), text == null ? {} : { textContent: text }, properties);
}

async function search() {
  const own = ++asked;
  cards.clear();
  byId("flights").replaceChildren();
  cursor = undefined;
  await more(own);
}

// more reads the next flights of a search.
async function more(own) {
  byId("status").textContent = "reading the flights";
  byId("more").hidden = true;
  const query = { limit: pageSize, refused: true };
  const values = new FormData(form);
  for (const name of ["q", "lane"]) if (values.get(name)) query[name] = values.get(name);
  if (values.get("from")) query.from = `${values.get("from")}T00:00:00Z`;
  if (values.get("to")) query.to = new Date(Date.parse(values.get("to")) + 86_400_000).toISOString();
  if (cursor) query.cursor = cursor;
  try {
    const list = await get("/flights", query);
    if (own !== asked) return;
    refused = list.refused ?? [];
    cursor = list.next_cursor;
    for (const flight of list.flights) add(flight);
    showNotes();
    byId("more").hidden = !cursor;
    byId("status").textContent = `${cards.size || "no"} flight${cards.size === 1 ? "" : "s"}${cursor ? ", and more" : ""}, newest day first; times in UTC`;
  } catch (error) {
    if (own !== asked) return;
    byId("more").hidden = !cursor;
    byId("status").textContent = `The flights cannot be read: ${error.message}. Try again.`;
  }
}

const time = (text) => text.slice(0, 19).replace("T", " ");

function add(flight) {
  const card = element("article", null, { id: anchorOf(flight) });
  const title = element("h2", flight.pilot_id ?? flight.id);
  title.append(" ", element("small", flight.pilot_id == null ? flight.lane : `${flight.id} · ${flight.lane}`));
  const facts = element("dl");
  const fact = (name, text) => facts.append(element("dt", name), element("dd", text));
  fact("flown", `${time(flight.first_fix.datetime)} to ${flight.last_fix.datetime.slice(11, 19)}`);
  fact("lasted", duration(Date.parse(flight.last_fix.datetime) - Date.parse(flight.first_fix.datetime)));
  fact("distance", `${(flight.distance / 1000).toFixed(1)} km`);
  if (flight.max_altitude != null) fact("highest", `${Math.round(flight.max_altitude)} m`);
  fact("points", flight.points.toLocaleString("en"));
  if (flight.race_id) fact("race", flight.race_id);
  if (flight.device_id) fact("device", flight.device_id);
  fact("came", time(flight.received_at));
  const notes = element("ul", null, { className: "notes" });
  const picture = element("figure");
  card.append(title, picture, facts, notes, linksOf(flight));
  byId("flights").append(card);
  cards.set(keyOf(flight), { flight, notes });
  pictures.set(picture, flight);
  seen.observe(picture);
}

function linksOf(flight) {
  const links = element("div", null, { className: "links" });
  const track = `/flights/${encodeURIComponent(flight.id)}/track`;
  for (const format of formats) {
    links.append(element("a", format.toUpperCase(), { href: address(track, { lane: flight.lane, format }), download: "" }));
  }
  const isNew = flight.lane === "live" && Date.now() - Date.parse(flight.last_fix.datetime) < 86_400_000;
  const view = new URLSearchParams(isNew ? { flight: flight.id } : { flight: flight.id, replay: flight.lane });
  links.append(element("a", "on the map", { href: `${address("/map")}#${view}` }));
  return links;
}

// showNotes says beside each flight what was refused of it, whether it came late, and
// which other flights are of the same pilot at the same time.
function showNotes() {
  const rest = new Set(refused);
  for (const { flight, notes } of cards.values()) {
    const lines = [];
    for (const part of refused) {
      if (part.id !== flight.id || part.lane !== flight.lane) continue;
      rest.delete(part);
      lines.push(element("li", refusal(part), { className: "is-refused" }));
    }
    const late = Date.parse(flight.received_at) - Date.parse(flight.last_fix.datetime);
    if (late > lateAfter) lines.push(element("li", `came ${duration(late)} after its last fix`, { className: "is-late" }));
    for (const { flight: other } of cards.values()) {
      if (other === flight || !flight.pilot_id || other.pilot_id !== flight.pilot_id || !overlap(flight, other)) continue;
      const line = element("li", "also ");
      line.append(element("a", `${other.id} (${other.lane})`, { href: `#${CSS.escape(anchorOf(other))}` }), `, came ${time(other.received_at)}`);
      line.firstElementChild.addEventListener("click", (event) => {
        event.preventDefault();
        document.getElementById(anchorOf(other)).scrollIntoView({ block: "center" });
      });
      lines.push(line);
    }
    notes.replaceChildren(...lines);
  }
  byId("refused").hidden = rest.size === 0;
  byId("refused").querySelector("ul").replaceChildren(...[...rest].map((part) => element("li",
    part.id ? `${part.id} (${part.lane}): ${refusal(part)}` : `${part.count} unreadable of the lane ${part.lane}, last ${time(part.last)}: ${part.error}`)));
}

const refusal = ({ count, last, error }) => `${count} point${count === 1 ? "" : "s"} refused, last ${time(last)}: ${error}`;

const overlap = (a, b) => a.first_fix.datetime <= b.last_fix.datetime && b.first_fix.datetime <= a.last_fix.datetime;

function duration(ms) {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 1) return `${Math.round(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

// Pictures are drawn when they come into view, one after the other.
const pictures = new Map(); // the flight by its figure
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    const flight = pictures.get(target);
    pictures.delete(target);
    drawing = drawing.then(() => draw(target, flight));
  }
}, { rootMargin: "200px" });
let drawing = Promise.resolve();

async function draw(figure, { id, lane, pilot_id }) {
  if (!figure.isConnected) return; // of the search before
  try {
    const { geometry } = await get(`/flights/${encodeURIComponent(id)}/track`, { lane, format: "geojson", simplify: tolerance });
    if (geometry) figure.append(pictureOf(geometry.type === "Point" ? [geometry.coordinates] : geometry.coordinates, pilot_id ?? id));
  } catch (error) {
    console.warn("no picture:", error);
  }
}

// pictureOf draws a way, north up, in a box of 120 × 90, with a dot where it begins.
function pictureOf(places, name) {
  const make = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const narrower = Math.max(0.05, Math.cos((places[0][1] * Math.PI) / 180));
  const xs = places.map(([lon]) => (((lon - places[0][0] + 540) % 360) - 180) * narrower); // across 180°, too
  const ys = places.map(([, lat]) => -lat);
  const range = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [left, right] = range(xs);
  const [top, bottom] = range(ys);
  const scale = Math.min(108 / Math.max(right - left, 1e-5), 78 / Math.max(bottom - top, 1e-5));
  const at = (i) => [60 + (xs[i] - (left + right) / 2) * scale, 45 + (ys[i] - (top + bottom) / 2) * scale].map((value) => value.toFixed(1));
  const svg = make("svg", { viewBox: "0 0 120 90", role: "img", "aria-label": `The way of ${name}, north up` });
  svg.append(make("polyline", { points: places.map((_, i) => at(i).join()).join(" ") }));
  const [x, y] = at(0);
  svg.append(make("circle", { cx: x, cy: y, r: 2 }));
  return svg;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const kept = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(null, "", `#${kept}`);
  search();
});
byId("more").addEventListener("click", () => more(asked));
byId("to-map").href = address("/map");
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (form.elements[name]) form.elements[name].value = value;
search();
