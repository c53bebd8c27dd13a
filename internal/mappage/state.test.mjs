import assert from "node:assert/strict";
import { test } from "node:test";
import * as state from "./assets/state.js";

const minute = 60_000;

// flown is fixes a second apart: of a pilot who flies, or stands still from a minute on.
const flown = (minutes, standsFrom = Infinity) => Array.from({ length: minutes * 60 + 1 }, (_, second) => {
  const moving = Math.min(second, standsFrom * 60);
  return [second * 1000, 46 + moving * 1e-4, 7, 1000 + moving, null, null, null];
});

test("a pilot is silent two minutes after the last fix", () => {
  const fixes = flown(5);
  assert.equal(state.summary(fixes, 5 * minute).state, "flying");
  assert.equal(state.summary(fixes, 7 * minute).state, "flying");
  assert.equal(state.summary(fixes, 7 * minute + 1).state, "silent");
});

test("a pilot has landed after ten minutes in one place, and is not silent then", () => {
  const fixes = flown(20, 5);
  assert.equal(state.summary(fixes, 14 * minute).state, "flying");
  assert.equal(state.summary(fixes, 15 * minute + 2000).state, "landed");
  assert.equal(state.summary(fixes, 60 * minute).state, "landed");
});

test("slow climbing is not landing", () => {
  const fixes = flown(20, 5).map((fix, i) => [...fix.slice(0, 3), 1000 + i / 10, null, 0.5, null]);
  assert.equal(state.summary(fixes, 20 * minute).state, "flying");
});

test("a speed that is sent counts", () => {
  const fixes = flown(20, 0).map((fix) => [...fix.slice(0, 5), 1.5, null]);
  assert.equal(state.summary(fixes, 20 * minute).state, "flying");
});

test("climb and speed are those of the last seconds", () => {
  const now = state.summary(flown(5), 2 * minute);
  assert.ok(Math.abs(now.climb - 1) < 1e-9);
  assert.ok(Math.abs(now.speed - 11.12) < 0.01);
  assert.equal(now.altitude, 1120);
  assert.equal(now.age, 0);
});

test("without an altitude there is no climb", () => {
  assert.equal(state.summary([[0, 46, 7, null, null, null, null], [1000, 46, 7, null, null, null, null]], 1000).climb, null);
});

test("fixes come in any order, and each once", () => {
  const list = [];
  assert.equal(state.insert(list, [[3000, 0, 0], [1000, 0, 0], [3000, 0, 0]]), 2);
  assert.equal(state.insert(list, [[2000, 0, 0], [1000, 0, 0]]), 1);
  assert.deepEqual(list.map((fix) => fix[0]), [1000, 2000, 3000]);
});

test("a time before the first fix shows nothing", () => {
  assert.equal(state.summary(flown(1), -1), null);
});

test("the distance is that along the way", () => {
  assert.ok(Math.abs(state.distance([0, 46, 7], [0, 47, 7]) - 111195) < 1);
  assert.ok(Math.abs(state.wayOf(flown(2), minute) - 667.2) < 0.1);
});

test("a distress call is of the flight it names, or of the last one of who sent it", () => {
  const flight = (id, pilot, device, end) => [id, { id, pilot, device, fixes: [[end, 46, 7]] }];
  const flights = new Map([
    flight("morning", "anna", "phone", 1000), flight("noon", "anna", "phone", 2000), flight("evening", "anna", "logger", 3000),
    flight("other", "bert", "phone", 4000), flight("nobody", undefined, "phone", 5000),
  ]);
  const of = (call, now = 9000) => [...state.callsOf([{ at: 8000, ...call }], flights, now).keys()];
  assert.deepEqual(of({ flight_id: "morning", pilot_id: "anna" }), ["morning"]);
  assert.deepEqual(of({ pilot_id: "anna", device_id: "phone" }), ["noon"]);
  assert.deepEqual(of({ pilot_id: "anna", device_id: "unknown" }), ["evening"]);
  assert.deepEqual(of({ device_id: "phone" }), ["nobody"]);
  assert.deepEqual(of({ device_id: "unknown" }), []);
  assert.deepEqual(of({ flight_id: "morning" }, 7000), [], "a replay of a time before");
});
