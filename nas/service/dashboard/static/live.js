// News of a search, for as long as there will be any. A connection that breaks is taken up where it broke.

import { ask, pause, searchPath } from "./api.js";
import { isOver } from "./format.js";

const KINDS = ["state", "trial", "front", "log"];
const RETRY_S = 2;

// ``onEvent(kind, data, number)`` for each, ``onStatus(isConnected)`` when that changes. Where the search is not there any
// more it is said to be connected, and whoever looks then is told.
export function follow(id, after, { onEvent, onStatus }) {
  let last = after;
  let source = null;
  let closed = false;

  function open() {
    source = new EventSource(`${searchPath(id, "events")}?after=${last}`);
    source.addEventListener("open", () => onStatus(true));
    for (const kind of KINDS) source.addEventListener(kind, (event) => hear(kind, event));
    source.addEventListener("error", () => {
      if (closed) return;
      onStatus(false);
      // The browser connects again by itself, unless it was told off.
      if (source.readyState === EventSource.CLOSED) retry();
    });
  }

  function hear(kind, event) {
    last = Number(event.lastEventId);
    const data = JSON.parse(event.data);
    // After this the service closes, and the browser would ask again for ever.
    if (kind === "state" && data.job !== "export" && isOver(data.state)) close();
    onEvent(kind, data, last);
  }

  async function retry() {
    while (!closed) {
      await pause(RETRY_S);
      try {
        const { num_events: newest } = await ask(searchPath(id));
        last = Math.min(last, newest); // less than before where the database was put back
        if (!closed) open();
        return;
      } catch (error) {
        if (error.isUnreachable || error.status >= 500) continue;
        close();
        onStatus(true);
      }
    }
  }

  function close() {
    closed = true;
    source.close();
  }

  // A browser has few connections to a server: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (closed) return;
    if (document.hidden) source.close();
    else open();
  });
  open();
  return { close };
}
