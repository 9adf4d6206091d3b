// The table of all trials. A row that has the focus shows its sub-network.

import { element } from "./shared/element.js";
import { valueOf } from "./shared/charts.js";
import { STATES } from "./shared/panel.js";

const PAGE = 100;
const FILTERS = {
  all: ["all", () => true],
  front: ["on the front", (state) => state === "front"],
  fitting: ["within the budget", (state) => state === "front" || state === "feasible"],
  failed: ["failed", (state) => state === "failed"],
};
const SIGNS = { front: "●", feasible: "•", infeasible: "○", partial: "◆", failed: "✕", supernet: "★" };

export class TrialTable {
  constructor(table, filter, more, { onPoint, onPin }) {
    this.table = table;
    this.filter = filter;
    this.more = more;
    this.onPoint = onPoint;
    this.onPin = onPin;
    this.limit = PAGE;
    this.rows = new Map();
    this.sort = { column: "number", order: -1 };
    this.columns = [];
    filter.addEventListener("change", () => this.#show());
    more.addEventListener("click", () => {
      this.limit += PAGE;
      this.#show();
    });
    table.tBodies[0].addEventListener("keydown", (event) => this.#key(event));
  }

  update(data, standing) {
    this.data = data;
    this.standing = standing;
    const columns = columnsOf(data);
    if (columns.map(({ id }) => id).join() !== this.columns.map(({ id }) => id).join()) {
      this.columns = columns;
      this.rows.clear();
      this.#head();
    }
    this.columns = columns;
    this.#show();
  }

  mark(index) {
    this.shown = index;
    for (const [point, row] of this.rows) row.classList.toggle("shown", point === index);
  }

  #head() {
    const cells = this.columns.map(({ id, title, isNumber }) => {
      const button = element("button", { type: "button" }, title);
      button.addEventListener("click", () => this.#sortBy(id));
      return element("th", { scope: "col", class: isNumber ? "number" : null, "data-id": id }, button);
    });
    this.table.tHead.replaceChildren(element("tr", {}, ...cells));
  }

  #sortBy(id) {
    const order = this.sort.column === id ? -this.sort.order : 1;
    this.sort = { column: id, order };
    this.#show();
  }

  #show() {
    this.#showFilter();
    const { column: sorted, order } = this.sort;
    const column = this.columns.find(({ id }) => id === sorted) ?? this.columns[0];
    for (const cell of this.table.tHead.rows[0].cells) {
      if (cell.dataset.id !== column.id) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
    }
    const shows = FILTERS[this.filter.value][1];
    const indices = this.data.points
      .map((_, index) => index)
      .filter((index) => this.data.points[index].number !== null && shows(this.#state(index)));
    const keys = new Map(indices.map((index) => [index, column.key(this.data.points[index], this.#state(index))]));
    indices.sort((a, b) => order * compare(keys.get(a), keys.get(b)) || b - a);
    const rows = indices.slice(0, this.limit).map((index) => this.#row(index));
    this.more.hidden = indices.length <= this.limit;
    const body = this.table.tBodies[0];
    if (rows.length !== body.rows.length || rows.some((row, place) => body.rows[place] !== row)) {
      const focused = document.activeElement;
      body.replaceChildren(...rows);
      if (rows.includes(focused)) focused.focus();
    }
    // One row is a stop of the Tab key; the arrows go on from there.
    const stop = rows.find((row) => row === document.activeElement || row.classList.contains("shown")) ?? rows[0];
    for (const row of rows) row.tabIndex = row === stop ? 0 : -1;
  }

  #showFilter() {
    const states = this.data.points.flatMap((point, index) => (point.number === null ? [] : [this.#state(index)]));
    const options = Object.entries(FILTERS).map(([name, [title, shows]]) => [name, `${title} (${states.filter(shows).length})`]);
    options.forEach(([name, text], place) => {
      const option = this.filter.options[place] ?? this.filter.appendChild(element("option", { value: name }));
      if (option.textContent !== text) option.textContent = text;
    });
  }

  #row(index) {
    const point = this.data.points[index];
    const state = this.#state(index);
    const texts = this.columns.map((column) => column.text(point, state));
    const print = texts.join("\u0000");
    const found = this.rows.get(index);
    if (found?.print === print) return found;
    const cells = this.columns.map((column, place) => {
      const cell = element("td", { class: column.isNumber ? "number" : null }, texts[place]);
      if (column.id === "source") {
        const dot = element("span", { class: "dot" });
        dot.style.background = this.data.colours[point.source] ?? "var(--ink)";
        cell.prepend(dot);
      }
      return cell;
    });
    if (found) {
      found.replaceChildren(...cells);
      found.print = print;
      return found;
    }
    const row = element("tr", { "data-number": point.number, tabindex: -1 }, ...cells);
    row.print = print;
    row.classList.toggle("shown", this.shown === index);
    row.addEventListener("focus", () => this.onPoint(index, true));
    row.addEventListener("mouseenter", () => this.onPoint(index, false));
    row.addEventListener("click", () => this.onPin(index));
    this.rows.set(index, row);
    return row;
  }

  #key(event) {
    const row = event.target.closest("tr");
    const next = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
    if (event.key === "Enter") row.click();
    if (!next) return;
    event.preventDefault();
    row.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  #state(index) {
    return this.standing.get(this.data.points[index]);
  }
}

function columnsOf(data) {
  // A part of another quantity, such as one task of several, is for the panel.
  const quantities = Object.entries(data.quantities).filter(([name]) => !name.includes("/"));
  return [
    { id: "number", title: "Trial", text: (point) => String(point.number), key: (point) => point.number },
    { id: "source", title: "Source", text: (point) => point.source, key: (point) => point.source },
    {
      id: "state",
      title: "State",
      text: (point, state) => `${SIGNS[state]} ${STATES[state]}`,
      key: (_, state) => Object.keys(SIGNS).indexOf(state),
    },
    ...quantities.map(([name, quantity]) => ({
      id: `quantity ${name}`,
      title: quantity.label,
      isNumber: true,
      text: (point) => point.readings[name]?.text.replace(` ${quantity.unit}`, "") ?? "–",
      key: (point) => valueOf(point, name),
    })),
    ...Object.keys(data.points[0].kept).map((unit) => ({
      id: `kept ${unit}`,
      title: `${unit[0].toUpperCase()}${unit.slice(1)} kept`,
      isNumber: true,
      text: (point) => point.kept[unit].replace("%", " %"),
      key: (point) => parseFloat(point.kept[unit]),
    })),
  ];
}

// Numbers by size, texts by letter, what is missing last.
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "string" ? a.localeCompare(b, "en") : a - b;
}
