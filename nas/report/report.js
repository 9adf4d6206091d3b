// The report's own part: the panel, the table and the events of one page that never changes.

import { CHART_CONFIG, budgetLine, chartLayout, drawHypervolume, frontTraces } from "./static/charts.js";
import { markPoint, quantityAxis, valuesOf } from "./static/charts.js";
import { element } from "./static/element.js";
import { budgetText, legendOf } from "./static/legend.js";
import { describePoint } from "./static/panel.js";

const data = JSON.parse(document.getElementById("report-data").textContent);
const panel = document.getElementById("panel");
const frontChart = document.getElementById("front-chart");
const rows = [...document.querySelectorAll("#front-table tbody tr")];
const axes = { x: data.x, y: data.y };
let shown = data.first;
let pinned = false;
// Focus may scroll the page, and what then comes to lie under a resting pointer is not pointed at.
let byKeyboard = false;

// --- The panel: what is pointed at. ---

function show(index) {
  shown = index;
  const point = data.points[index];
  const children = describePoint(data, point);
  if (point.command) children.push(command(point.command));
  const hint = pinned ? "Pinned. Esc, or another click on it, lets go." : "Point at another; click or Enter pins.";
  panel.replaceChildren(...children, element("p", { class: "hint" }, hint));
  rows.forEach((row) => row.classList.toggle("shown", Number(row.dataset.index) === index));
  markPoint(frontChart, axes, point);
}

// A line may break between words, not inside ``--out``.
function command(text) {
  return element("code", {}, ...text.split(" ").flatMap((word) => [element("span", {}, word), " "]));
}

function preview(index) {
  if (!pinned && index !== shown) show(index);
}

function hover(index) {
  if (!byKeyboard) preview(index);
}

function togglePin(index) {
  pinned = !(pinned && index === shown);
  show(index);
}

function release() {
  pinned = false;
  show(shown);
}

// --- Charts. ---

function drawFront() {
  const shapes = ["x", "y"]
    .map((axis) => [axis, data.quantities[axes[axis]].budget])
    .filter(([, budget]) => budget !== null)
    .map(([axis, budget]) => budgetLine(axis, budget));
  const [xaxis, yaxis] = [axes.x, axes.y].map((name) => quantityAxis(data.quantities[name], valuesOf(data, name)));
  Plotly.react(frontChart, frontTraces(data, axes), chartLayout({ xaxis, yaxis, shapes }), CHART_CONFIG);
}

function drawVolume() {
  const by = document.getElementById("hypervolume-x");
  drawHypervolume("hypervolume-chart", data, by.value, by.selectedOptions[0].text);
}

function drawLegend() {
  const states = new Set(data.points.filter((point) => Object.keys(point.readings).length).map((point) => point.state));
  const budgets = Object.values(data.quantities).filter((quantity) => quantity.budget !== null);
  const texts = budgets.map((quantity) => budgetText(quantity, quantity.budget));
  document.getElementById("legend").replaceChildren(...legendOf(data, states, texts));
}

function draw() {
  drawFront();
  drawVolume();
  markPoint(frontChart, axes, data.points[shown]);
}

// --- The table. ---

function sortBy(header) {
  const column = header.cellIndex;
  const order = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const key = (row) => row.cells[column].dataset.value;
  rows.sort((a, b) => order * key(a).localeCompare(key(b), "en", { numeric: false }));
  if (header.classList.contains("number") || column === 0)
    rows.sort((a, b) => order * (Number(key(a)) - Number(key(b))));
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order === 1 ? "ascending" : "descending");
  document.querySelector("#front-table tbody").append(...rows);
}

// --- Events. ---

draw();
drawLegend();
show(shown);
frontChart.on("plotly_hover", (event) => hover(event.points[0].customdata));
frontChart.on("plotly_click", (event) => togglePin(event.points[0].customdata));
for (const row of rows) {
  const index = Number(row.dataset.index);
  row.addEventListener("focus", () => {
    byKeyboard = true;
    preview(index);
  });
  row.addEventListener("mouseenter", () => hover(index));
  row.addEventListener("click", () => {
    togglePin(index);
    panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
  row.addEventListener("keydown", (event) => {
    if (event.key === "Enter") togglePin(index);
  });
}
const onMove = (event) => {
  if (event.movementX || event.movementY) byKeyboard = false;
};
document.addEventListener("mousemove", onMove, { capture: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") release();
});
for (const button of document.querySelectorAll("#front-table th button")) {
  button.addEventListener("click", () => sortBy(button.parentNode));
}
for (const axis of ["x", "y"]) {
  document.getElementById(`axis-${axis}`)?.addEventListener("change", (event) => {
    axes[axis] = event.target.value;
    draw();
  });
}
document.getElementById("hypervolume-x").addEventListener("change", drawVolume);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
