// What a pilot does, from the pilot's fixes and a time. Nothing here knows the page,
// the network or the clock. A fix is [Unix ms, lat, lon, elevation, barometric
// altitude, speed, heading], the last four maybe null. Units are m, m/s, ms.

export const tailLength = 600_000;

// step is how far apart fixes are, in ms, as the corners of a track on the map, at the
// least.
export const step = 3000;
export const silentAfter = 120_000;
export const landedAfter = 600_000;
export const landedSpeed = 5 / 3.6;
export const landedHeight = 10;

// climbSpan is over how long the climb is averaged, and maxStep how far apart fixes
// may be for it.
const climbSpan = 20_000;
const maxStep = 60_000;

const earthRadius = 6371008.8;
const radians = (degrees) => (degrees * Math.PI) / 180;

export const altitudeOf = (fix) => fix[3] ?? fix[4];

// distance between two fixes on a sphere.
export function distance(a, b) {
  const x = Math.sin(radians(b[1] - a[1]) / 2) ** 2
    + Math.cos(radians(a[1])) * Math.cos(radians(b[1])) * Math.sin(radians(b[2] - a[2]) / 2) ** 2;
  return 2 * earthRadius * Math.asin(Math.min(1, Math.sqrt(x)));
}

// insert adds fixes to a list that is in the order of time, without those of a time
// that is there, and returns how many it added.
export function insert(list, fixes) {
  let added = 0;
  for (const fix of fixes) {
    const at = indexAfter(list, fix[0]);
    if (at > 0 && list[at - 1][0] === fix[0]) continue;
    list.splice(at, 0, fix);
    added++;
  }
  return added;
}

// indexAfter is where in a list the fixes after a time begin.
export function indexAfter(list, time) {
  let low = 0;
  let high = list.length;
  if (high === 0 || list[high - 1][0] <= time) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle][0] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

// until returns the fixes of the time that is looked at: those of somewhat more than
// ten minutes before the last one that is not after now.
export function until(list, now) {
  const end = indexAfter(list, now);
  if (end === 0) return [];
  return list.slice(indexAfter(list, list[end - 1][0] - landedAfter - 10_000), end);
}

// climbAt is the climb at a fix, or null where it cannot be told.
export function climbAt(list, index) {
  const fix = list[index];
  if (altitudeOf(fix) == null) return null;
  let from = index;
  while (from > 0 && fix[0] - list[from - 1][0] <= climbSpan) from--;
  if (from === index && index > 0 && fix[0] - list[index - 1][0] <= maxStep) from = index - 1;
  if (from === index || altitudeOf(list[from]) == null) return null;
  return ((altitudeOf(fix) - altitudeOf(list[from])) * 1000) / (fix[0] - list[from][0]);
}

// speedAt is the speed over ground at a fix: what it says, or the way from the one
// before.
export function speedAt(list, index) {
  if (list[index][5] != null) return list[index][5];
  if (index === 0) return null;
  return (distance(list[index - 1], list[index]) * 1000) / (list[index][0] - list[index - 1][0]);
}

// isLanded reports whether the last ten minutes of fixes were spent in one place.
export function isLanded(fixes) {
  const last = fixes.at(-1);
  if (!last || last[0] - fixes[0][0] < landedAfter) return false;
  const start = indexAfter(fixes, last[0] - landedAfter - 1);
  let lowest = Infinity;
  let highest = -Infinity;
  for (let i = Math.max(1, start); i < fixes.length; i++) {
    const altitude = altitudeOf(fixes[i]);
    if (altitude != null) {
      lowest = Math.min(lowest, altitude);
      highest = Math.max(highest, altitude);
    }
    if ((speedAt(fixes, i) ?? 0) >= landedSpeed) return false;
  }
  return !(highest - lowest > landedHeight);
}

// stateOf is "landed", "silent" or "flying" of fixes that until returned.
export function stateOf(fixes, now) {
  if (isLanded(fixes)) return "landed";
  return now - fixes.at(-1)[0] > silentAfter ? "silent" : "flying";
}

// summary is what the list shows of a flight at a time, or null before its first fix.
export function summary(list, now) {
  const fixes = until(list, now);
  if (fixes.length === 0) return null;
  const last = fixes.at(-1);
  return {
    fixes, last, state: stateOf(fixes, now), age: Math.max(0, now - last[0]),
    altitude: altitudeOf(last), climb: climbAt(fixes, fixes.length - 1), speed: speedAt(fixes, fixes.length - 1),
  };
}

// callsOf sorts distress calls to the flights that they are of, at a time: the newest
// call by the flight's id. The app may have said the flight; otherwise it is the last
// one of the same pilot and device, or of the pilot.
export function callsOf(calls, flights, now) {
  const called = new Map();
  for (const call of calls) {
    if (call.at > now) continue;
    const flight = flights.get(call.flight_id) ?? lastOf(call, flights);
    if (flight) called.set(flight.id, call);
  }
  return called;
}

function lastOf(call, flights) {
  let found;
  for (const flight of flights.values()) {
    if ((flight.pilot ?? "") !== (call.pilot_id ?? "") || flight.fixes.length === 0) continue;
    const isDevice = call.device_id != null && flight.device === call.device_id;
    if (!isDevice && !call.pilot_id) continue;
    const rank = [isDevice ? 1 : 0, flight.fixes.at(-1)[0]];
    if (!found || rank[0] > found.rank[0] || (rank[0] === found.rank[0] && rank[1] > found.rank[1])) found = { flight, rank };
  }
  return found?.flight;
}

// wayOf is the distance flown along a list up to a time.
export function wayOf(list, now) {
  let way = 0;
  for (let i = 1; i < list.length && list[i][0] <= now; i++) way += distance(list[i - 1], list[i]);
  return way;
}
