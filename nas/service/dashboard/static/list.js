// All searches, newest first, kept up to date.

import { ask } from "./api.js";
import { badge, isOver, moment, plural, progressOf, progressText } from "./format.js";
import { element } from "./shared/element.js";
import { byId, connected, problem, run } from "./shell.js";

const BUSY_S = 2;
const QUIET_S = 10;
const PAGE = 50;
const chosen = new Set();
const rows = new Map();
let limit = PAGE;
let asked = 0;

async function load() {
  const mine = ++asked;
  const query = new URLSearchParams();
  for (const state of byId("states").value.split(",").filter(Boolean)) query.append("state", state);
  const { searches, next_cursor: next } = await pages(query, limit);
  if (mine !== asked) return null; // what was asked for later counts
  show(searches, next !== null);
  return searches;
}

async function pages(query, wanted) {
  const found = [];
  let next = null;
  do {
    query.set("limit", Math.min(200, wanted - found.length));
    if (next !== null) query.set("cursor", next);
    const page = await ask(`/v1/searches?${query}`);
    found.push(...page.searches);
    next = page.next_cursor;
  } while (next !== null && found.length < wanted);
  return { searches: found, next_cursor: next };
}

function show(searches, hasMore) {
  const isFiltered = byId("states").value !== "";
  byId("empty").hidden = searches.length > 0 || isFiltered;
  byId("list-card").hidden = !searches.length;
  showRows(searches);
  byId("more").hidden = !hasMore;
  if (!hasMore && !isFiltered) forgetAllBut(new Set(searches.map((search) => search.id)));
  const busy = searches.filter((search) => !isOver(search.state)).length;
  const count = `${hasMore ? "The newest " : ""}${plural(searches.length, "search", "searches")}`;
  const summary = searches.length ? `${count}, ${busy || "none"} under way.` : isFiltered ? "None of these." : "";
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary;
  showCompare();
}

// Rows that say the same stay: what is focused, selected or read aloud is not taken away.
function showRows(searches) {
  const focused = document.activeElement?.id;
  const body = byId("searches");
  const next = searches.map((search) => {
    const fresh = row(search);
    const known = rows.get(search.id);
    return known?.textContent === fresh.textContent ? known : fresh;
  });
  rows.clear();
  next.forEach((one) => rows.set(one.dataset.id, one));
  if (next.length === body.rows.length && next.every((one, place) => one === body.rows[place])) return;
  body.replaceChildren(...next);
  if (focused) byId(focused)?.focus();
}

function row(search) {
  const box = element("input", { type: "checkbox", id: `choose-${search.id}`, checked: chosen.has(search.id) });
  box.setAttribute("aria-label", `Compare ${search.name}`);
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(search.id);
    else chosen.delete(search.id);
    showCompare();
  });
  const link = element("a", { href: `/searches/${search.id}`, id: `open-${search.id}` }, search.name);
  const cells = [
    ["", box],
    ["", element("div", { class: "name" }, link), element("div", { class: "id" }, search.id.slice(0, 8))],
    ["", badge(search.state)],
    ["Progress", ...progress(search)],
    ["Model", search.config.model?.name ?? "–"],
    ["Owner", search.owner],
    ["Submitted", moment(search.created_at)],
  ];
  return element(
    "tr",
    { "data-id": search.id },
    ...cells.map(([label, ...content]) => element("td", { "data-label": label || null }, ...content)),
  );
}

function progress(search) {
  const share = progressOf(search);
  const text = progressText(search);
  if (share === null) return [text];
  const bar = element("progress", { max: 1, value: share, "aria-label": `Trials of ${search.name}` });
  return [bar, element("span", { class: "faint" }, text)];
}

// What was chosen, and has been deleted since.
function forgetAllBut(ids) {
  for (const id of chosen) if (!ids.has(id)) chosen.delete(id);
}

function showCompare() {
  byId("compare").hidden = chosen.size < 2;
  byId("compare").textContent = `Compare ${chosen.size}`;
  byId("compare").href = `/compare?ids=${[...chosen].join(",")}`;
}

async function keepUp() {
  let seconds = QUIET_S;
  try {
    const searches = document.hidden ? null : await load();
    if (searches?.some((search) => !isOver(search.state))) seconds = BUSY_S;
    connected(true);
    problem(byId("problem"), null);
  } catch (error) {
    seconds = BUSY_S;
    connected(!error.isUnreachable);
    problem(byId("problem"), error.isUnreachable ? null : error);
  }
  setTimeout(keepUp, 1000 * seconds);
}

async function reload() {
  await load().catch((error) => problem(byId("problem"), error));
}

run(async () => {
  byId("states").addEventListener("change", reload);
  byId("more").addEventListener("click", () => {
    limit += PAGE;
    reload();
  });
  document.addEventListener("visibilitychange", reload);
  await keepUp();
});
