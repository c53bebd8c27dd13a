// The pilots on the map: a line for each track of the last ten minutes, a dot where
// the pilot is, and a name.

import { altitudeOf, climbAt, step, tailLength } from "./state.js";

const L = window.L;

// colourOf is the same for the same pilot, everywhere.
export function colourOf(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return `hsl(${(hash * 137) % 360} 70% ${42 + ((hash >> 8) % 3) * 8}%)`;
}

// climbColours are from sinking fast to climbing fast, in m/s; blue to red is told
// apart by nearly everybody.
const climbColours = [[-2, "#2166ac"], [-0.5, "#6ba3d0"], [0.5, "#9a9a9a"], [2, "#e08214"], [Infinity, "#d62f1f"]];
const climbColour = (climb) => climbColours.find(([limit]) => (climb ?? 0) < limit)[1];

// many is of how many pilots at the most the corners of a track are a step apart; of more
// they are further apart, so that all can be drawn many times a second.
const many = 50;

const marks = { sos: " ✚ SOS", flying: "", silent: " ‼ silent", landed: " ■ landed" };

export class PilotView {
  constructor(map, name, onChoose) {
    this.colour = colourOf(name);
    this.lines = L.layerGroup().addTo(map);
    this.dot = L.circleMarker([0, 0], { radius: 6, weight: 2 }).on("click", onChoose);
    this.dot.bindTooltip("", { permanent: true, direction: "right", offset: [8, 0], className: "label" });
    this.map = map;
    this.name = name;
    this.isShown = false;
  }

  // show draws what state.summary returned, as one of a number of pilots. label writes
  // its name after that.
  show({ fixes, last, state, altitude }, { byClimb, isChosen, count }) {
    const key = [last[0], fixes.length, byClimb, isChosen, state].join();
    if (this.key === key && this.isShown) return;
    this.key = key;
    const apart = isChosen ? step : step * Math.ceil(count / many);
    const points = fixes.filter((fix, i) => fix[0] > last[0] - tailLength
      && (i === fixes.length - 1 || Math.floor(fix[0] / apart) !== Math.floor(fixes[i + 1][0] / apart)));
    const options = { weight: isChosen ? 5 : 2.5, opacity: state === "flying" || state === "sos" ? 0.9 : 0.5, interactive: false };
    this.draw(byClimb ? pieces(points) : [{ colour: this.colour, corners: points }], options);
    this.mark(state, isChosen);
    this.dot.setLatLng([last[1], last[2]]);
    const height = (state === "flying" || state === "sos") && altitude != null ? ` ${Math.round(altitude)} m` : "";
    this.text = this.name + height + marks[state];
    this.state = state;
    if (!this.isShown) this.dot.setTooltipContent(document.createTextNode(this.text)).addTo(this.map);
    this.isShown = true;
  }

  // label writes what show has found out. Leaflet asks for the size of a label whenever it
  // moves one: to write between two of these moves makes the browser lay all out again.
  label() {
    const label = this.dot.getTooltip()?.getElement();
    if (!label) return;
    if (label.textContent !== this.text) label.textContent = this.text;
    if (!label.classList.contains(this.state)) label.className = label.className.replace(/ (sos|flying|silent|landed)\b/g, "") + ` ${this.state}`;
  }

  // draw makes the lines those of parts of a track. What is there is used again: many
  // pilots move many times a second in a replay.
  draw(parts, options) {
    const lines = this.lines.getLayers();
    parts.forEach(({ colour, corners }, i) => {
      const places = corners.map((fix) => [fix[1], fix[2]]);
      const look = { ...options, color: colour };
      if (!lines[i]) this.lines.addLayer(L.polyline(places, look));
      else {
        if (Object.keys(look).some((name) => lines[i].options[name] !== look[name])) lines[i].setStyle(look);
        lines[i].setLatLngs(places);
      }
    });
    for (const line of lines.slice(parts.length)) this.lines.removeLayer(line);
  }

  // mark makes the dot look like a state. To ask for the page's colours takes time, so it
  // is done where something has changed alone.
  mark(state, isChosen) {
    const scheme = matchMedia("(prefers-color-scheme: dark)").matches;
    const key = [state, isChosen, scheme].join();
    if (this.marked === key) return;
    this.marked = key;
    const style = getComputedStyle(document.documentElement);
    this.dot.setRadius(state === "sos" ? 12 : isChosen ? 9 : 6).setStyle({
      weight: state === "sos" ? 5 : 2, color: style.getPropertyValue(`--${state}`), fillColor: state === "landed" ? style.getPropertyValue("--ground") : this.colour,
      fillOpacity: 1, dashArray: state === "silent" ? "3 3" : null,
    });
  }

  hide() {
    this.isShown = false;
    this.lines.clearLayers();
    this.dot.remove();
  }

  remove() {
    this.hide();
    this.lines.remove();
  }
}

// declutter hides the names that would lie on others, of views in the order of how much
// they matter; the dots stay.
export function declutter(views) {
  const labels = views.map(({ dot }) => dot.getTooltip()?.getElement()).filter(Boolean);
  const boxes = labels.map((label) => label.getBoundingClientRect());
  const kept = [];
  labels.forEach((label, i) => {
    const box = boxes[i];
    const isFree = kept.every((other) => box.right < other.left || other.right < box.left || box.bottom < other.top || other.bottom < box.top);
    if (isFree) kept.push(box);
    label.classList.toggle("is-covered", !isFree);
  });
}

// pieces cuts a track where the climb's colour changes.
function pieces(fixes) {
  const all = [];
  for (let i = 1; i < fixes.length; i++) {
    const colour = climbColour(climbAt(fixes, i));
    if (all.at(-1)?.colour === colour) all.at(-1).corners.push(fixes[i]);
    else all.push({ colour, corners: [fixes[i - 1], fixes[i]] });
  }
  return all;
}

// Chart shows the altitude and the climb of fixes.
export class Chart {
  constructor(element) {
    this.element = element;
  }

  show(fixes) {
    const points = fixes.filter((fix, i) => i === 0 || i === fixes.length - 1 || Math.floor(fix[0] / 1000) !== Math.floor(fixes[i - 1][0] / 1000));
    const data = [points.map((fix) => fix[0] / 1000), points.map((fix) => altitudeOf(fix) ?? null), points.map((_, i) => climbAt(points, i))];
    if (this.plot) return this.plot.setData(data);
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue("--muted");
    const axis = { stroke: text, grid: { stroke: style.getPropertyValue("--edge") }, ticks: { stroke: style.getPropertyValue("--edge") } };
    this.plot = new window.uPlot({
      width: this.element.clientWidth, height: this.element.clientHeight - 30, cursor: { drag: { x: false, y: false } },
      scales: { climb: { range: (_, low, high) => [Math.max(-10, Math.min(-1, low ?? 0)), Math.min(10, Math.max(1, high ?? 0))] } },
      series: [{ label: "time" }, { label: "m", stroke: style.getPropertyValue("--accent"), width: 2 },
        { label: "m/s", scale: "climb", stroke: style.getPropertyValue("--flying"), width: 1 }],
      axes: [axis, { ...axis, size: 55 }, { ...axis, scale: "climb", side: 1, size: 40, grid: { show: false } }],
    }, data, this.element);
  }

  clear() {
    this.plot?.destroy();
    this.plot = undefined;
  }
}
