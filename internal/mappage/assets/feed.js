// The server's stream, however often the connection breaks, and its other answers.

// silence is how long no event may come before the connection counts as lost; the
// server sends one each second. pause is how long after a loss the next try is.
const silence = 6000;
const pause = 2000;

const prefix = location.pathname.replace(/\/(map\/?|flights)$/, "");
const own = new URLSearchParams(location.search);

// address is that of an endpoint for whom the page was opened for.
export function address(path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  for (const name of ["token", "race_id", "pilot_id"]) if (own.has(name)) query.set(name, own.get(name));
  return `${prefix}${path}?${query}`;
}

// get fetches JSON.
export async function get(path, parameters) {
  const response = await fetch(address(path, parameters), { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

// follow calls onFlights with each event's data, and onLost after each loss. The
// browser connects again by itself and resumes; where it gives up, or does not notice,
// follow does the same.
export function follow({ onFlights, onLost }) {
  let source;
  let timer;
  let last = "";
  const after = (delay, action) => {
    clearTimeout(timer);
    timer = setTimeout(action, delay);
  };
  const restart = () => {
    source.close();
    onLost();
    after(pause, connect);
  };
  const take = (event) => {
    after(silence, restart);
    last = event.lastEventId;
    onFlights(JSON.parse(event.data), event.type === "snapshot");
  };
  const connect = () => {
    source = new EventSource(address("/live/stream", last && { last_event_id: last }));
    source.addEventListener("snapshot", take);
    source.addEventListener("points", take);
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) restart();
      else onLost();
    });
    after(silence, restart);
  };
  connect();
}
