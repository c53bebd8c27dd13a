// The day again, from the stored tracks.

import { distance, step } from "./state.js";

const byId = (id) => document.getElementById(id);

// day is how far back a replay goes, in ms, speed how much faster than the day it
// plays, and atOnce how many tracks are fetched at a time.
const day = 12 * 3_600_000;
const speed = 60;
const atOnce = 3;

// slice is how many fixes are taken up before the page gets time to draw.
const slice = 2000;

export class Replay {
  constructor({ get, onChange, onOne }) {
    Object.assign(this, { get, onChange, onOne, isOn: false, now: 0, flights: new Map() });
    byId("replay").addEventListener("click", () => (this.isOn ? this.stop() : this.start()));
    byId("play").addEventListener("click", () => this.play(!this.timer));
    byId("slider").addEventListener("input", () => this.goTo(Number(byId("slider").value)));
  }

  // start replays what flew in the last hours or, of one flight, { id, lane }, all.
  async start(one) {
    this.isOn = true;
    this.flights = new Map();
    this.show();
    byId("replay-text").textContent = "reading the tracks";
    const from = one ? undefined : new Date(Date.now() - day).toISOString();
    try {
      const rest = one ? [await this.get(`/flights/${encodeURIComponent(one.id)}`, { lane: one.lane })]
        : [...(await this.get("/flights", { lane: "live", limit: 200, from })).flights];
      await Promise.all(Array.from({ length: atOnce }, async () => {
        for (let flight = rest.shift(); flight && this.isOn; flight = rest.shift()) await this.load(flight, from);
      }));
    } catch (error) {
      byId("replay-text").textContent = `The tracks cannot be read: ${error.message}`;
      return;
    }
    if (!this.isOn) return;
    const times = [...this.flights.values()].flatMap(({ fixes }) => (fixes.length ? [fixes[0][0], fixes.at(-1)[0]] : []));
    byId("replay-text").textContent = times.length ? "" : "No flight is stored of the last hours.";
    if (!times.length) return;
    Object.assign(byId("slider"), { min: Math.min(...times), max: Math.max(...times) });
    byId("slide").hidden = byId("play").hidden = false;
    this.goTo(one ? Math.min(...times) : Math.max(...times));
    if (one) this.onOne([...this.flights.values()][0].fixes);
  }

  async load({ id, lane, pilot_id, device_id }, from) {
    const track = await this.get(`/flights/${encodeURIComponent(id)}/track`, { lane, format: "geojson", ...(from && { from }) });
    const { geometry, properties } = track;
    if (!geometry) return;
    const places = geometry.type === "Point" ? [geometry.coordinates] : geometry.coordinates;
    const flight = { id, name: pilot_id || id, pilot: pilot_id, device: device_id, fixes: [], ways: [] };
    let before;
    let way = 0;
    for (let i = 0; i < places.length; i++) {
      const [lon, lat, height] = places[i];
      const fix = [Date.parse(properties.coordTimes[i]), lat, lon, height ?? null, null, null, null];
      if (before) way += distance(before, fix);
      const isOfStep = before && Math.floor(fix[0] / step) === Math.floor(before[0] / step);
      const at = isOfStep ? flight.fixes.length - 1 : flight.fixes.length; // the last of each step stays
      flight.fixes[at] = fix;
      flight.ways[at] = way;
      before = fix;
      if (i % slice === slice - 1) await new Promise((resume) => { setTimeout(resume); });
    }
    this.flights.set(id, flight);
  }

  // isMoving is whether another time has just been shown.
  get isMoving() {
    return this.isOn && performance.now() - this.before < 200;
  }

  goTo(time) {
    this.now = time;
    this.before = this.shownAt ?? -Infinity;
    this.shownAt = performance.now();
    byId("slider").value = time;
    const text = new Date(time).toLocaleTimeString();
    byId("slide-time").textContent = text;
    byId("slider").setAttribute("aria-valuetext", text);
    this.onChange();
  }

  play(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => {
      this.goTo(Math.min(this.now + speed * 100, Number(byId("slider").max)));
      if (this.now >= Number(byId("slider").max)) this.play(false);
    }, 100) : undefined;
    if (on && this.now >= Number(byId("slider").max)) this.goTo(Number(byId("slider").min));
    byId("play").textContent = on ? "pause" : "play";
  }

  stop() {
    this.play(false);
    this.isOn = false;
    byId("slide").hidden = byId("play").hidden = true;
    byId("replay-text").textContent = "";
    this.show();
    this.onChange();
  }

  show() {
    byId("replay").setAttribute("aria-pressed", this.isOn);
    byId("replay").textContent = this.isOn ? "back to live" : "replay the day";
  }
}
