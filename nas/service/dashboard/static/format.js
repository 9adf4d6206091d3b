// Numbers, times and states as people read them.

import { element } from "./shared/element.js";

const SIGNS = { queued: "◷", running: "▶", complete: "✓", failed: "✕", cancelled: "⊘" };
const SIZES = ["bytes", "kB", "MB", "GB", "TB"];

export const isOver = (state) => state !== "queued" && state !== "running";

// A sign and a word, so that the colour says nothing that they do not.
export function badge(state) {
  return element(
    "span",
    { class: `badge ${state}`, "data-state": state },
    element("span", { class: "sign", "aria-hidden": "true" }, SIGNS[state] ?? "?"),
    state,
  );
}

export function moment(seconds) {
  const date = new Date(1000 * seconds);
  return element("time", { datetime: date.toISOString(), title: date.toLocaleString("en-GB") }, ago(seconds));
}

export function clock(seconds) {
  return new Date(1000 * seconds).toLocaleTimeString("en-GB");
}

function ago(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 60) return "just now";
  if (passed < 3600) return `${Math.floor(passed / 60)} min ago`;
  if (passed < 86400) return `${Math.floor(passed / 3600)} h ago`;
  return new Date(1000 * seconds).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(number) {
  const step = number < 1000 ? 0 : Math.min(SIZES.length - 1, Math.floor(Math.log10(number) / 3));
  const size = number / 1000 ** step;
  return `${step ? size.toPrecision(3) : size} ${SIZES[step]}`;
}

export function progressText(search) {
  if (search.max_trials === null) return `${search.num_trials} trials`;
  return `${search.num_trials} of ${search.max_trials} trials`;
}

// How much of it is done, in [0, 1]; null where only time ends it.
export function progressOf(search) {
  return search.max_trials === null ? null : Math.min(1, search.num_trials / search.max_trials);
}

export const plural = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
