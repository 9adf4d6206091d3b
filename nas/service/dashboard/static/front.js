// The front's chart: hover, keyboard, and budgets as lines that can be dragged.

import { CHART_CONFIG, chartLayout, frontTraces, isPlotted } from "./shared/charts.js";
import { quantityAxis, valueOf, valuesOf } from "./shared/charts.js";
import { element } from "./shared/element.js";
import { boundOf, budgetText } from "./shared/legend.js";

const KEYS = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 };

export class FrontChart {
  // ``onPoint(index, isByKey)`` for what is pointed at, ``onPin(index)`` for what is clicked, ``onDrag(name, value, isOver)``.
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
    this.#overlay();
  }

  // The same with other budgets alone: what lies over the chart moves at once, the chart itself is left for later.
  move(view) {
    this.view = view;
    this.#overlay();
  }

  mark(index) {
    this.shown = index;
    this.#overlay();
  }

  #listen() {
    this.hasEvents = true;
    this.chart.on("plotly_hover", (event) => {
      if (!this.dragging) this.onPoint(event.points[0].customdata, false);
    });
    this.chart.on("plotly_click", (event) => this.onPin(event.points[0].customdata));
    // Drawn anew, zoomed, in the midst of zooming, or of another size.
    for (const event of ["plotly_afterplot", "plotly_relayout", "plotly_relayouting"])
      this.chart.on(event, () => this.#overlay());
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
    this.onPoint(data.points.indexOf(walk[Math.max(0, Math.min(walk.length - 1, next))]), true);
  }

  // Budgets, the pick and what is pointed at lie over the chart, not in it: they move without it, and never change its
  // range.
  #overlay() {
    const layout = this.chart._fullLayout;
    if (!layout?.xaxis || !this.view) return;
    const { data, axes, budgets } = this.view;
    this.#placeMark(layout, "ring-mark", data.points[this.shown], "");
    this.#placeMark(layout, "pick-mark", this.view.pick, `pick: ${this.view.pick?.number}`);
    const wanted = budgets.filter(({ name }) => name === axes.x || name === axes.y);
    for (const handle of this.handles.querySelectorAll(".handle"))
      if (!wanted.some(({ name }) => name === handle.dataset.name)) handle.remove();
    for (const { name, limit } of wanted) this.#place(this.#handle(name), layout, data.quantities[name], limit);
  }

  #placeMark({ xaxis, yaxis }, name, point, text) {
    const { axes } = this.view;
    const mark = this.handles.querySelector(`.${name}`) ?? this.handles.appendChild(element("div", { class: name }));
    const has = point !== undefined && point !== null && isPlotted(point, axes);
    const [left, top] = has ? [xaxis.d2p(valueOf(point, axes.x)), yaxis.d2p(valueOf(point, axes.y))] : [NaN, NaN];
    mark.hidden = !(left >= 0 && left <= xaxis._length && top >= 0 && top <= yaxis._length);
    if (mark.hidden) return;
    mark.style.left = `${xaxis._offset + left}px`;
    mark.style.top = `${yaxis._offset + top}px`;
    mark.dataset.text = text;
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
