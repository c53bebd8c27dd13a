// The last 15 minutes of each lane, in columns, the form that charts need.

export const span = 900; // seconds
const interval = 5;
const gap = 3 * interval; // this far apart, samples are not joined by a line

export class History {
  #samples = []; // {at (seconds), lanes}, the oldest first
  #tip; // the newest snapshot, until it is old enough to be a sample

  // merge adopts the server's samples, and keeps older ones that a restarted
  // server does not know any more.
  merge(samples) {
    const known = samples.map(({ at, lanes }) => ({ at: Date.parse(at) / 1000, lanes }));
    const first = known[0]?.at ?? Infinity;
    this.#samples = [...this.#samples.filter(({ at }) => at < first), ...known];
    this.#tip = undefined;
  }

  add(snapshot) {
    const at = Date.parse(snapshot.at) / 1000;
    const lanes = {};
    for (const lane of snapshot.lanes) {
      lanes[lane.name] = {
        in: lane.in_per_second,
        out: lane.out_per_second,
        waiting: snapshot.redis.connected ? lane.waiting : null,
      };
    }
    this.#tip = { at, lanes };
    const last = this.#samples.at(-1)?.at ?? -Infinity;
    if (at - last >= interval) this.#samples.push(this.#tip);
    this.#samples = this.#samples.filter((sample) => sample.at > at - span);
  }

  // columns returns a lane's times, in, out and waiting; null where unknown.
  columns(name) {
    const columns = { times: [], in: [], out: [], waiting: [] };
    const push = (at, values) => {
      columns.times.push(at);
      for (const column of ["in", "out", "waiting"]) columns[column].push(values?.[column] ?? null);
    };
    const all = this.#tip && this.#tip !== this.#samples.at(-1) ? [...this.#samples, this.#tip] : this.#samples;
    let before;
    for (const { at, lanes } of all) {
      if (at <= before) continue; // a clock was set back, or two servers take turns
      if (at - before > gap) push(before + 1);
      push(at, lanes[name]);
      before = at;
    }
    return columns;
  }
}
