// One search: how it stands, its front as it moves, budgets, what they pick, exports, trials and log.

import { ask, searchPath } from "./api.js";
import { Budgets } from "./budgets.js";
import { Exports } from "./exports.js";
import { badge, duration, isOver, moment, plural, progressOf, progressText } from "./format.js";
import { FrontChart } from "./front.js";
import { follow } from "./live.js";
import { Log } from "./log.js";
import { fits, frontWithin, isEligible, pickFrom, standings } from "./pick.js";
import { Picked } from "./picked.js";
import { drawHypervolume } from "./shared/charts.js";
import { element } from "./shared/element.js";
import { budgetText, legendOf } from "./shared/legend.js";
import { STATES, describePoint } from "./shared/panel.js";
import { byId, connected, loadPlotly, maySubmit, problem, run } from "./shell.js";
import { TrialTable } from "./trials.js";

const id = decodeURIComponent(location.pathname.split("/").at(-1));
const RARELY_MS = 700;
const REDRAW_MS = 120;
const REST = 4; // between two looks at the chart, times what one took: a large search must not keep the page busy
let may = false;
let search = null;
let data = null;
let axes = null;
let standing = new Map();
let shown = null;
let isPinned = false;
let byKeyboard = false;
let timer = null;
let isLooking = false;
let isStale = false;
let tookMs = 0;

const budgets = new Budgets(byId("budgets"), byId("add-budget"), { onInput: judgeSoon, onChange: askServer });
const chart = new FrontChart(byId("front-chart"), byId("handles"), {
  onPoint(index, isByKey) {
    preview(index);
    if (isByKey) announce(sentenceOf(data.points[index]));
  },
  onPin: togglePin,
  onDrag(name, value, isReleased) {
    budgets.set(name, value);
    judgeSoon();
    if (isReleased) askServer();
  },
});
const trials = new TrialTable(byId("trials"), byId("trial-filter"), byId("more-trials"), {
  onPoint(index, isFocus) {
    if (isFocus) byKeyboard = true;
    // Focus may scroll the page, and what then comes to lie under a resting pointer is not pointed at.
    if (isFocus || !byKeyboard) preview(index);
  },
  onPin: togglePin,
});
const exported = new Exports(id, {
  list: byId("exports"),
  empty: byId("no-exports"),
  problem: byId("export-problem"),
  news: byId("export-news"),
});
const picked = new Picked(id, { place: byId("pick"), served: byId("served") }, { onShow: pin, onExport });
const log = new Log(id, byId("log"));

// --- How it stands. ---

async function loadSearch() {
  const before = search?.state;
  search = await ask(searchPath(id));
  document.title = `${search.name} – nas`;
  byId("name").textContent = search.name;
  byId("state").replaceChildren(badge(search.state));
  byId("done").textContent = progressText(search);
  byId("progress").hidden = progressOf(search) === null;
  byId("progress").value = progressOf(search) ?? 0;
  byId("cancel").hidden = !may || isOver(search.state);
  byId("rerun").hidden = !may;
  byId("delete").hidden = !may || !isOver(search.state);
  byId("compare").hidden = false;
  byId("compare").href = `/compare?ids=${id}`;
  byId("reason").hidden = !search.reason;
  byId("reason").textContent = search.reason;
  byId("facts").replaceChildren(...Object.entries(facts()).map(fact));
  byId("config").textContent = JSON.stringify(search.config, null, 2);
  byId("search").removeAttribute("aria-busy");
  if (before !== undefined && before !== search.state) announce(`The search is ${search.state}.`);
  return search;
}

function facts() {
  const { config, environment } = search;
  return {
    Model: config.model?.name ?? "–",
    Strategy: config.strategy?.type ?? "–",
    Seed: config.seed,
    Device: environment?.device?.name ?? null,
    Owner: search.owner,
    Submitted: moment(search.created_at),
    Took: search.ended_at && search.started_at ? duration(search.ended_at - search.started_at) : null,
  };
}

function fact([name, value]) {
  if (value === null || value === undefined) return "";
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

function announce(text) {
  byId("announcement").textContent = text;
}

// --- The chart's data: fetched anew when something happened, never more often than it can be drawn. ---

async function loadChart() {
  try {
    data = await ask(searchPath(id, "chart"));
  } catch (error) {
    if (error.kind !== "not-ready") throw error;
    waiting();
    return;
  }
  document.body.classList.add("has-trials");
  byId("waiting").hidden = true;
  byId("report").hidden = false;
  byId("report").href = searchPath(id, "report");
  budgets.update(data);
  if (axes === null) {
    axes = { x: data.x, y: data.y };
    shown = (pickFrom(data, frontWithin(data, budgets.budgets)) ?? data.points[data.first]).number;
    chooseAxes();
  }
  await loadPlotly();
  await drawAll();
}

function waiting() {
  const texts = {
    queued: ["Waiting for a worker", "The search begins as soon as a worker is free."],
    running: search.config.supernet_training
      ? ["Training and measuring the supernet", "The log below says how far it is; the front appears with the first trials."]
      : ["Measuring the supernet", "The front appears with the first trials."],
    complete: ["Nothing was found", "The search ended without a trial."],
    failed: ["Failed before its first trials", "What was wrong is above; the log may say more."],
    cancelled: ["Cancelled before its first trials", "Run it again to go on."],
  };
  const [title, text] = texts[search.state];
  byId("waiting").hidden = false;
  byId("waiting").replaceChildren(element("h2", {}, title), element("p", {}, text));
}

async function look() {
  if (isLooking) {
    isStale = true;
    return;
  }
  isLooking = true;
  const startMs = performance.now();
  try {
    await loadSearch();
    await loadChart();
    log.load().catch((error) => problem(byId("problem"), error.isUnreachable ? null : error));
    connected(true);
  } catch (error) {
    if (!error.isUnreachable) problem(byId("problem"), error);
    else isStale = true;
    connected(!error.isUnreachable);
  }
  tookMs = performance.now() - startMs;
  isLooking = false;
  if (isStale) lookSoon();
}

function lookSoon() {
  isStale = true;
  timer ??= setTimeout(() => {
    timer = null;
    isStale = false;
    look();
  }, Math.max(RARELY_MS, REST * tookMs));
}

// --- Drawing. ---

async function drawAll() {
  judge();
  drawVolume();
  await askServer();
}

let frame = null;
let drawing = null;

// While a budget moves: once a frame, whatever the number of moves; the chart and the table follow when it rests.
function judgeSoon() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    chart.move(judgeBudgets());
  });
  clearTimeout(drawing);
  drawing = setTimeout(judge, REDRAW_MS);
}

// What fits and what would be picked; returns what the chart needs.
function judgeBudgets() {
  const chosen = budgets.budgets;
  const front = frontWithin(data, chosen);
  const pick = pickFrom(data, front);
  const eligible = data.points.filter((point) => isEligible(data, point));
  const numFitting = eligible.filter((point) => fits(data, chosen, point)).length;
  picked.show({ data, pick, numFitting, numEligible: eligible.length, front, mayExport: may });
  return { data, axes, budgets: chosen, standing, pick };
}

// The same, and everything that shows it.
function judge() {
  clearTimeout(drawing);
  standing = standings(data, budgets.budgets);
  chart.draw(judgeBudgets());
  trials.update(data, standing);
  const states = new Set(data.points.filter((point) => Object.keys(point.readings).length).map((p) => standing.get(p)));
  const texts = budgets.budgets.map(({ name, limit }) => budgetText(data.quantities[name], limit));
  byId("legend").replaceChildren(...legendOf(data, states, texts));
  showPanel();
}

function askServer() {
  return picked.ask(data, budgets.budgets);
}

function drawVolume() {
  const by = byId("hypervolume-x");
  drawHypervolume(byId("hypervolume-chart"), data, by.value, by.selectedOptions[0].text);
  const last = data.hypervolume.at(-1);
  const text = `After ${plural(data.hypervolume.length, "trial")} it is ${last === null ? "unknown" : last.toPrecision(4)}.`;
  byId("hypervolume-now").textContent = text;
}

function chooseAxes() {
  for (const axis of ["x", "y"]) {
    const select = byId(`axis-${axis}`);
    const options = Object.entries(data.quantities).map(([name, quantity]) =>
      element("option", { value: name, selected: name === axes[axis] }, quantity.title),
    );
    select.replaceChildren(...options);
    select.addEventListener("change", () => {
      axes[axis] = select.value;
      judge();
    });
  }
}

// --- What is pointed at. Trials come in between, so it is known by its number. ---

function indexOf(number) {
  return data.points.findIndex((point) => point.number === number);
}

function showPanel() {
  const index = Math.max(0, indexOf(shown));
  const point = data.points[index];
  const children = describePoint(data, point, standing.get(point));
  if (may && point.number !== null && point.state !== "failed") {
    const button = element("button", { type: "button", id: "export-shown" }, `Export trial ${point.number}`);
    button.addEventListener("click", () => onExport(point.number));
    children.push(button);
  }
  const hint = isPinned ? "Pinned. Esc, or another click on it, lets go." : "Point at another; click or Enter pins.";
  const hadFocus = document.activeElement?.id === "export-shown";
  byId("panel").replaceChildren(...children, element("p", { class: "hint" }, hint));
  if (hadFocus) byId("export-shown")?.focus();
  trials.mark(index);
  chart.mark(index);
}

// For those who hear what others see.
function sentenceOf(point) {
  const numbers = Object.entries(point.readings).map(([name, { text }]) => `${data.quantities[name].title} ${text}`);
  return `${point.title}, ${STATES[standing.get(point)]}: ${numbers.join(", ")}`;
}

function preview(index) {
  const { number } = data.points[index];
  if (isPinned || number === shown) return;
  shown = number;
  showPanel();
}

function togglePin(index) {
  const { number } = data.points[index];
  isPinned = !(isPinned && number === shown);
  shown = number;
  showPanel();
}

function pin(number) {
  isPinned = true;
  shown = number;
  showPanel();
  byId("panel").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function onExport(number) {
  return exported.start(number);
}

// --- Events. ---

byId("hypervolume-x").addEventListener("change", drawVolume);
document.addEventListener("mousemove", (event) => {
  if (event.movementX || event.movementY) byKeyboard = false;
}, { capture: true });
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !isPinned) return;
  isPinned = false;
  showPanel();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && drawAll());

byId("cancel").addEventListener("click", async () => {
  byId("cancel").disabled = true;
  await act(async () => {
    await ask(searchPath(id, "cancel"), { method: "POST" });
    announce("Cancelling.");
  });
  byId("cancel").disabled = false;
});
byId("rerun").addEventListener("click", () =>
  act(async () => {
    const made = await ask(searchPath(id, "rerun"), { method: "POST" });
    location.assign(`/searches/${made.id}`);
  }),
);

byId("delete").addEventListener("click", async () => {
  if (!confirm(`Delete “${search.name}”, its trials and its exports? They cannot be had back.`)) return;
  try {
    await ask(searchPath(id), { method: "DELETE" });
    location.assign("/");
  } catch (error) {
    problem(byId("problem"), error);
  }
});

async function act(what) {
  try {
    problem(byId("problem"), null);
    await what();
    lookSoon();
  } catch (error) {
    problem(byId("problem"), error);
  }
}

run(async (session) => {
  may = maySubmit(session);
  loadPlotly().catch((error) => problem(byId("problem"), error));
  try {
    await loadSearch();
  } catch (error) {
    byId("search").hidden = !error.isUnreachable;
    throw error;
  }
  const { num_events: after } = search;
  await loadChart();
  await Promise.all([log.load(), exported.load()]);
  if (isOver(search.state)) return;
  follow(id, after, {
    onEvent(kind) {
      if (kind === "log") log.load().catch(() => {});
      else lookSoon();
    },
    onStatus(isConnected) {
      connected(isConnected);
      if (isConnected) lookSoon();
    },
  });
});
