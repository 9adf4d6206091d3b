// The front's chart: hover, keyboard, and budgets as lines that can be dragged.

import { CHART_CONFIG, chartLayout, frontTraces, isPlotted } from "./shared/charts.js";
import { markPoint, quantityAxis, valueOf, valuesOf } from "./shared/charts.js";
import { element } from "./shared/element.js";
import { boundOf, budgetText } from "./shared/legend.js";

const KEYS = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 };

export class FrontChart {
  // ``onPoint(index)`` for what is pointed at, ``onPin(index)`` for what is clicked, ``onDrag(name, value, isOver)``.
  constructor(chart, handles, { onPoint, onPin, onDrag }) {
    this.chart = chart;
    this.handles = handles;
    this.onPoint = onPoint;
    this.onPin = onPin;
    this.onDrag = onDrag;
    this.shown = null;
    this.dragging = null;
    this.hasEvents = false;
    chart.addEventListener("keydown", (event) => this.#key(event));
  }

  // What there is to draw: the chart's data, axes, budgets, how each point stands, and which is picked.
  async draw(view) {
    this.view = view;
    const { data, axes, standing } = view;
    const traces = frontTraces(data, axes, (point) => standing.get(point));
    const [xaxis, yaxis] = [axes.x, axes.y].map((name) => quantityAxis(data.quantities[name], valuesOf(data, name)));
    // The same revision keeps what somebody zoomed to while trials come in.
    const layout = chartLayout({ xaxis, yaxis, uirevision: `${axes.x} ${axes.y}` });
    await Plotly.react(this.chart, traces, layout, CHART_CONFIG);
    if (!this.hasEvents) this.#listen();
    await this.mark(this.shown);
    this.#overlay();
  }

  // The same with other budgets alone: what lies over the chart moves at once, the chart itself is left for later.
  move(view) {
    this.view = view;
    this.#overlay();
  }

  async mark(index) {
    this.shown = index;
    if (this.view) await markPoint(this.chart, this.view.axes, this.view.data.points[index]);
  }

  #listen() {
    this.hasEvents = true;
    this.chart.on("plotly_hover", (event) => {
      if (!this.dragging) this.onPoint(event.points[0].customdata);
    });
    this.chart.on("plotly_click", (event) => this.onPin(event.points[0].customdata));
    this.chart.on("plotly_relayout", () => this.#overlay());
    this.chart.on("plotly_relayouting", () => this.#overlay());
    new ResizeObserver(() => requestAnimationFrame(() => this.#overlay())).observe(this.chart);
  }

  #key(event) {
    const step = KEYS[event.key];
    if (event.key === "Enter" && this.shown !== null) this.onPin(this.shown);
    if (!step || !this.view) return;
    event.preventDefault();
    const { data, axes, standing } = this.view;
    const walk = data.points
      .filter((point) => isPlotted(point, axes) && standing.get(point) === "front")
      .sort((a, b) => valueOf(a, axes.x) - valueOf(b, axes.x));
    if (!walk.length) return;
    const place = walk.indexOf(data.points[this.shown]);
    const next = place < 0 ? (step > 0 ? 0 : walk.length - 1) : place + step;
    this.onPoint(data.points.indexOf(walk[Math.max(0, Math.min(walk.length - 1, next))]));
  }

  // Budgets and the pick are drawn over the chart, not in it: they move without it, and never change its range.
  #overlay() {
    const layout = this.chart._fullLayout;
    if (!layout?.xaxis || !this.view) return;
    const { data, axes, budgets } = this.view;
    this.#placePick(layout);
    const wanted = budgets.filter(({ name }) => name === axes.x || name === axes.y);
    for (const handle of this.handles.querySelectorAll(".handle"))
      if (!wanted.some(({ name }) => name === handle.dataset.name)) handle.remove();
    for (const { name, limit } of wanted) this.#place(this.#handle(name), layout, data.quantities[name], limit);
  }

  #placePick({ xaxis, yaxis }) {
    const { axes, pick } = this.view;
    const mark = this.handles.querySelector(".pick-mark") ?? this.handles.appendChild(element("div", { class: "pick-mark" }));
    const [left, top] =
      pick !== null && isPlotted(pick, axes) ? [xaxis.d2p(valueOf(pick, axes.x)), yaxis.d2p(valueOf(pick, axes.y))] : [NaN, NaN];
    mark.hidden = !(left >= 0 && left <= xaxis._length && top >= 0 && top <= yaxis._length);
    if (mark.hidden) return;
    mark.style.left = `${xaxis._offset + left}px`;
    mark.style.top = `${yaxis._offset + top}px`;
    mark.dataset.text = `pick: ${pick.number}`;
  }

  #place(handle, { xaxis, yaxis }, quantity, limit) {
    const isX = handle.dataset.name === this.view.axes.x;
    const [axis, other] = isX ? [xaxis, yaxis] : [yaxis, xaxis];
    const pixel = axis.d2p(limit);
    handle.className = `handle ${isX ? "across-x" : "across-y"}${this.dragging === handle.dataset.name ? " dragged" : ""}`;
    handle.hidden = !(pixel >= -1 && pixel <= axis._length + 1);
    handle.title = budgetText(quantity, limit);
    const [along, across, length] = isX ? ["left", "top", "height"] : ["top", "left", "width"];
    Object.assign(handle.style, { left: "", top: "", width: "", height: "" });
    handle.style[along] = `${axis._offset + pixel}px`;
    handle.style[across] = `${other._offset}px`;
    handle.style[length] = `${other._length}px`;
    // The shade covers what the budget leaves out, to the end of the plot.
    const isAfter = (boundOf(quantity) === "max") === isX;
    const reach = isAfter ? axis._length - pixel : pixel;
    const shade = handle.querySelector(".shade");
    Object.assign(shade.style, { left: "", top: "", right: "", bottom: "", width: "", height: "" });
    shade.style[isX ? (isAfter ? "left" : "right") : isAfter ? "top" : "bottom"] = "50%";
    shade.style[isX ? "width" : "height"] = `${Math.max(0, reach)}px`;
  }

  #handle(name) {
    const found = [...this.handles.querySelectorAll(".handle")].find((handle) => handle.dataset.name === name);
    if (found) return found;
    // Below the chart there is a slider for the same budget, which is what a keyboard and a screen reader use.
    const handle = element(
      "div",
      { class: "handle", "data-name": name, "aria-hidden": "true" },
      ...["shade", "line", "grip"].map((part) => element("span", { class: part })),
    );
    handle.addEventListener("pointerdown", (event) => {
      this.dragging = name;
      handle.setPointerCapture(event.pointerId);
      handle.classList.add("dragged");
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      if (this.dragging === name) this.onDrag(name, this.#valueAt(name, event), false);
    });
    const drop = (event) => {
      if (this.dragging !== name) return;
      this.dragging = null;
      handle.classList.remove("dragged");
      this.onDrag(name, this.#valueAt(name, event), true);
    };
    handle.addEventListener("pointerup", drop);
    handle.addEventListener("pointercancel", drop);
    this.handles.append(handle);
    return handle;
  }

  #valueAt(name, event) {
    const box = this.chart.getBoundingClientRect();
    const layout = this.chart._fullLayout;
    const isX = name === this.view.axes.x;
    const axis = isX ? layout.xaxis : layout.yaxis;
    const pixel = (isX ? event.clientX - box.left : event.clientY - box.top) - axis._offset;
    return axis.p2d(Math.max(0, Math.min(axis._length, pixel)));
  }
}
