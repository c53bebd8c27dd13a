// The server's events, however often the connection breaks.

// silence is how long, in milliseconds, no snapshot may come before the
// connection counts as lost; a dead network tells nothing by itself.
const silence = 6000;

// pause is how long after a loss the next try is.
const pause = 2000;

// follow calls onHistory after each connect, onSnapshot about once a second,
// and onLost after each try that ended.
export function follow(address, { onHistory, onSnapshot, onLost }) {
  let source;
  let timer;
  const after = (delay, action) => {
    clearTimeout(timer);
    timer = setTimeout(action, delay);
  };
  const lose = () => {
    source.close();
    after(pause, connect);
    onLost();
  };
  const connect = () => {
    source = new EventSource(address);
    source.addEventListener("history", (event) => onHistory(JSON.parse(event.data)));
    source.addEventListener("snapshot", (event) => {
      after(silence, lose);
      onSnapshot(JSON.parse(event.data));
    });
    source.addEventListener("error", lose);
    after(silence, lose);
  };
  connect();
}
