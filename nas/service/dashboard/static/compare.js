// Several searches on one plot, and side by side in a table.

import { ask, searchPath } from "./api.js";
import { badge, progressText } from "./format.js";
import { CHART_CONFIG, chartLayout, isPlotted, plain } from "./shared/charts.js";
import { quantityAxis, staircase, style, valueOf } from "./shared/charts.js";
import { element, svg } from "./shared/element.js";
import { byId, loadPlotly, problem, run } from "./shell.js";

// After Okabe and Ito, each with a sign and a dash of its own.
const LOOKS = [
  ["#1f86c7", "circle", "solid"],
  ["#e69f00", "square", "dash"],
  ["#009e73", "diamond", "dot"],
  ["#cc79a7", "triangle-up", "dashdot"],
  ["#d55e00", "cross", "longdash"],
  ["#8c8c8c", "star", "longdashdot"],
];
const SIGNS = { circle: "●", square: "■", diamond: "◆", "triangle-up": "▲", cross: "✚", star: "★" };
const PAGE = 30;
const compared = new Map(); // by id: {search, chart}; in the order in which they were chosen
let listed = [];
let next = null;
let axes = null;
let asked = 0;

// --- What is compared. ---

const idsAsked = () => (new URLSearchParams(location.search).get("ids") ?? "").split(",").filter(Boolean);

async function list() {
  const page = await ask(`/v1/searches?limit=${PAGE}${next === null ? "" : `&cursor=${encodeURIComponent(next)}`}`);
  listed = [...listed, ...page.searches];
  next = page.next_cursor;
  byId("more").hidden = next === null;
  showChoices();
}

async function addAsked(id) {
  try {
    return [id, await fetchOne(id)];
  } catch (error) {
    if (error.isUnreachable) throw error;
    problem(byId("problem"), error);
    return null;
  }
}

async function fetchOne(id) {
  const search = await ask(searchPath(id));
  let chart = null;
  try {
    chart = await ask(searchPath(id, "chart"));
  } catch (error) {
    if (error.kind !== "not-ready") throw error;
  }
  return { search, chart };
}

async function toggle(id, isChosen) {
  const mine = ++asked;
  try {
    problem(byId("problem"), null);
    if (isChosen) compared.set(id, await fetchOne(id));
    else compared.delete(id);
  } catch (error) {
    problem(byId("problem"), error);
  }
  history.replaceState(null, "", compared.size ? `/compare?ids=${[...compared.keys()].join(",")}` : "/compare");
  if (mine === asked) await show();
}

function showChoices() {
  const focused = document.activeElement?.id;
  const entries = listed.map((search) => {
    const box = element("input", { type: "checkbox", value: search.id, id: `choose-${search.id}`, checked: compared.has(search.id) });
    box.disabled = !box.checked && compared.size >= LOOKS.length;
    box.addEventListener("change", () => toggle(search.id, box.checked));
    const label = element(
      "label",
      { for: box.id },
      ...(compared.has(search.id) ? [sign(search.id)] : []),
      element("span", { class: "name" }, search.name),
      element("span", { class: "faint" }, `${search.id.slice(0, 8)}, ${search.state}, ${progressText(search)}`),
    );
    return element("div", { class: "check" }, box, label);
  });
  const legend = byId("choices").querySelector("legend");
  byId("choices").replaceChildren(legend, ...(entries.length ? entries : [element("p", { class: "note" }, "There is no search yet.")]));
  if (focused) byId(focused)?.focus();
}

function look(id) {
  return LOOKS[[...compared.keys()].indexOf(id) % LOOKS.length];
}

function sign(id) {
  const [colour, symbol] = look(id);
  const mark = element("span", { class: "sign", "aria-hidden": "true" }, SIGNS[symbol]);
  mark.style.color = colour;
  return mark;
}

// --- The plot: the front of each, in the units of the first. ---

const charted = () => [...compared.entries()].filter(([, { chart }]) => chart !== null);

// What all of them measured in one unit, the first's names.
function common() {
  const [[, first] = [], ...others] = charted();
  if (!first) return [];
  return Object.entries(first.chart.quantities)
    .filter(([name, quantity]) => others.every(([, { chart }]) => chart.quantities[name]?.stored_unit === quantity.stored_unit))
    .map(([name]) => name);
}

async function show() {
  showChoices();
  showTable();
  showWarnings();
  const names = common();
  const isDrawn = names.length >= 2;
  byId("chart").hidden = !isDrawn;
  byId("nothing").hidden = isDrawn && compared.size > 1;
  byId("nothing").textContent = hintOf(names);
  for (const axis of ["x", "y"]) byId(`axis-${axis}`).parentElement.hidden = !isDrawn;
  byId("legend").replaceChildren(...(isDrawn ? charted().map(legendEntry) : []));
  if (!isDrawn) return;
  chooseAxes(names);
  await loadPlotly();
  draw();
}

function hintOf(names) {
  if (compared.size < 2) return compared.size ? "Choose another one to compare it with." : "Choose two searches or more.";
  if (charted().length < 2) return "The others have not measured anything yet.";
  return names.length < 2 ? "These searches have fewer than two measurements in common, so there is no plot of them." : "";
}

function chooseAxes(names) {
  const [[, { chart }]] = charted();
  if (axes === null || !names.includes(axes.x) || !names.includes(axes.y)) {
    // A part of another quantity, such as one task of several, only where there is nothing else.
    const wholeFirst = [...names].sort((a, b) => a.includes("/") - b.includes("/"));
    const y = names.includes(chart.y) ? chart.y : wholeFirst[0];
    const isGood = names.includes(chart.x) && chart.x !== y;
    axes = { x: isGood ? chart.x : wholeFirst.find((name) => name !== y), y };
  }
  for (const axis of ["x", "y"]) {
    const options = names.map((name) => element("option", { value: name, selected: name === axes[axis] }, chart.quantities[name].title));
    byId(`axis-${axis}`).replaceChildren(...options);
  }
}

// A reading in the unit in which the first search shows it.
function shown(chart, point, name, key = "value") {
  const reading = point.readings[name];
  const factor = charted()[0][1].chart.quantities[name].factor / chart.quantities[name].factor;
  return reading?.[key] === null || reading?.[key] === undefined ? null : reading[key] * factor;
}

// Of a front, those that have both coordinates, from left to right.
function membersOf(chart) {
  return chart.points
    .filter((point) => point.state === "front" && isPlotted(point, axes))
    .sort((a, b) => valueOf(a, axes.x) - valueOf(b, axes.x));
}

function traceOf([id, { search, chart }]) {
  const [color, symbol, dash] = look(id);
  const members = membersOf(chart);
  const bars = (name) => {
    const gap = (key) => members.map((point) => Math.abs((shown(chart, point, name, key) ?? shown(chart, point, name)) - shown(chart, point, name)));
    return { type: "data", symmetric: false, array: gap("high"), arrayminus: gap("low"), color, thickness: 1, width: 2 };
  };
  const isPlanar = chart.objectives.length === 2 && chart.objectives.every((name) => name === axes.x || name === axes.y);
  return {
    type: "scatter",
    mode: isPlanar ? "lines+markers" : "markers",
    x: members.map((point) => shown(chart, point, axes.x)),
    y: members.map((point) => shown(chart, point, axes.y)),
    text: members.map((point) => plain(`${search.name}, trial ${point.number} (${point.source})`)),
    hovertemplate: "%{text}<extra></extra>",
    line: { shape: staircase(chart.quantities[axes.x]), color, width: 2, dash },
    marker: { size: 10, color, symbol, line: { color: style("--ink"), width: 1 } },
    error_x: bars(axes.x),
    error_y: bars(axes.y),
  };
}

function draw() {
  const [[, { chart }]] = charted();
  const [xaxis, yaxis] = [axes.x, axes.y].map((name) => {
    const logarithmic = charted().some(([, one]) => one.chart.quantities[name].logarithmic);
    const members = charted().flatMap(([, one]) => membersOf(one.chart).map((point) => shown(one.chart, point, name)));
    return quantityAxis({ ...chart.quantities[name], logarithmic }, members);
  });
  Plotly.react(byId("chart"), charted().map(traceOf), chartLayout({ xaxis, yaxis }), CHART_CONFIG);
}

function legendEntry([id, { search }]) {
  const [colour, , dash] = look(id);
  const dashes = { solid: null, dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "10 4", longdashdot: "10 3 2 3" };
  const line = svg("path", { d: "M1 7h24", stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes[dash] });
  return element("li", {}, svg("svg", { viewBox: "0 0 26 14", class: "wide", "aria-hidden": "true" }, line), sign(id), search.name);
}

// --- What must be known before they are set side by side. ---

function showWarnings() {
  const warnings = [];
  const distinct = (of) => new Set([...compared.values()].map(of).filter((value) => value !== undefined && value !== null));
  if (distinct(({ search }) => search.environment?.device?.name).size > 1)
    warnings.push("They ran on different devices: latencies and memory do not compare.");
  if (distinct(({ search }) => search.config.model?.name).size > 1)
    warnings.push("They search different models: a share such as 0.6× is of another whole.");
  if (distinct(({ search }) => JSON.stringify(search.config.objectives)).size > 1)
    warnings.push("Their objectives are measured differently: the same name may stand for other examples or workloads.");
  byId("warnings").replaceChildren(...warnings.map((text) => element("li", {}, text)));
}

const ROWS = {
  State: ({ search }) => badge(search.state),
  Model: ({ search }) => search.config.model?.name ?? "–",
  Device: ({ search }) => search.environment?.device?.name ?? "–",
  Strategy: ({ search }) => search.config.strategy?.type ?? "–",
  Space: ({ search }) => search.config.space?.type ?? "–",
  Recovery: ({ search }) => search.config.recovery?.type ?? "–",
  Seed: ({ search }) => String(search.config.seed ?? "–"),
  Trials: ({ search }) => progressText(search),
  "On the front": ({ chart }) => (chart === null ? "–" : String(chart.points.filter((point) => point.state === "front").length)),
  "Best in the first objective": ({ chart }) => best(chart),
  "Hypervolume, of its own reference point": ({ search }) => search.hypervolume?.toPrecision(4) ?? "–",
};

function best(chart) {
  const point = chart?.points[chart.first];
  if (!point || point.state !== "front") return "–";
  return `trial ${point.number}: ${chart.objectives.map((name) => `${chart.quantities[name].title} ${point.readings[name].text}`).join(", ")}`;
}

function showTable() {
  const entries = [...compared.entries()];
  const headings = entries.map(([id, { search }]) =>
    element("th", { scope: "col" }, sign(id), " ", element("a", { href: `/searches/${id}` }, search.name)));
  byId("table").tHead.replaceChildren(element("tr", {}, element("td"), ...headings));
  const rows = Object.entries(ROWS).map(([title, cell]) =>
    element("tr", {}, element("th", { scope: "row" }, title), ...entries.map(([, one]) => element("td", {}, cell(one)))));
  byId("table").tBodies[0].replaceChildren(...(entries.length ? rows : []));
  byId("table").closest("section").hidden = !entries.length;
}

for (const axis of ["x", "y"]) {
  byId(`axis-${axis}`).addEventListener("change", (event) => {
    axes[axis] = event.target.value;
    draw();
  });
}
byId("more").addEventListener("click", () => list().catch((error) => problem(byId("problem"), error)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charted().length && show());

run(async () => {
  listed = [];
  next = null;
  const adding = list().then(() => Promise.all(idsAsked().slice(0, LOOKS.length).map(addAsked)));
  loadPlotly().catch((error) => problem(byId("problem"), error));
  const found = await adding;
  // In the order of the address, whichever came first: their colours go by it.
  for (const one of found) if (one !== null) compared.set(...one);
  for (const [id, { search }] of compared) if (!listed.some((one) => one.id === id)) listed.push(search);
  await show();
  byId("fronts").removeAttribute("aria-busy");
});
