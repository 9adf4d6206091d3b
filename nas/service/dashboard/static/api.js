// Requests to the service. Whatever goes wrong becomes a Problem whose message is a sentence for people.

const PATIENCE_S = 10;
const UNREACHABLE = "The service does not answer; it is asked again as soon as it does.";

export class Problem extends Error {
  constructor(status, kind, detail) {
    super(detail);
    this.status = status;
    this.kind = kind;
  }

  get isUnreachable() {
    return this.status === 0;
  }
}

// The answer's JSON; null where there is none. ``config`` is sent as it stands, ``body`` as JSON.
export async function ask(path, { method = "GET", headers = {}, body, config, signal } = {}) {
  const answer = await request(path, {
    method,
    signal,
    headers: body === undefined && config === undefined ? headers : { "Content-Type": contentType(config), ...headers },
    body: config ?? (body === undefined ? undefined : JSON.stringify(body)),
  });
  if (answer.status === 429 && method === "GET") {
    await pause(Math.min(PATIENCE_S, Number(answer.headers.get("Retry-After") ?? 1)));
    return ask(path, { method, headers, body, config, signal });
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  throw await problemOf(answer);
}

// A path of the API about one search.
export const searchPath = (id, ...rest) => ["/v1/searches", encodeURIComponent(id), ...rest].join("/");

export function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

// Where somebody without a token is sent, and comes back from.
export function logIn() {
  const here = location.pathname + location.search;
  location.assign(`/login?next=${encodeURIComponent(here)}`);
}

async function request(path, options) {
  try {
    return await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", UNREACHABLE);
  }
}

async function problemOf(answer) {
  const record = await answer.json().catch(() => ({}));
  const kind = (record.type ?? "").replace("/problems/", "");
  if (answer.status === 401 && location.pathname !== "/login") logIn();
  if (answer.status >= 502 && !kind) return new Problem(0, "unreachable", UNREACHABLE);
  return new Problem(answer.status, kind, record.detail ?? `The service answered ${answer.status}; try again.`);
}

function contentType(config) {
  return config === undefined ? "application/json" : "application/yaml";
}
