// What the signs of the front's chart mean. They differ by shape, not by colour alone.

import { element, svg } from "./element.js";

const SIGNS = {
  infeasible: ["outside the budget", "circle", { class: "outline", cx: 7, cy: 7, r: 4.5 }],
  partial: ["fewer examples", "path", { class: "solid", d: "M7 1l6 6-6 6-6-6z" }],
  failed: ["failed", "path", { class: "outline", d: "M3 3l8 8M11 3l-8 8" }],
};
const STAR = "M7 0l2 5h5l-4 3.4 1.5 5.2L7 10.4l-4.5 3.2L4 8.4 0 5h5z";

// ``budgets``: as ``budgetText`` has them.
export function legendOf(data, states, budgets) {
  const sources = Object.entries(data.colours).map(([source, fill]) =>
    legendEntry(source, svg("circle", { cx: 7, cy: 7, r: 5, fill })),
  );
  const signs = Object.entries(SIGNS)
    .filter(([state]) => states.has(state))
    .map(([, [text, tag, attributes]]) => legendEntry(text, svg(tag, attributes)));
  const line = [svg("path", { class: "ink-line", d: "M1 7h24" }), svg("circle", { class: "ink-line", cx: 13, cy: 7, r: 5 })];
  return [
    legendEntry("front, 95 % interval", ...line),
    ...sources,
    ...signs,
    legendEntry("supernet", svg("path", { class: "ink", d: STAR })),
    ...budgets.map((text) => legendEntry(text, svg("path", { class: "budget", d: "M1 7h24" }))),
  ];
}

// Such as "decode latency ≤ 3.9 ms".
export function budgetText(quantity, limit) {
  return `${quantity.title} ${boundOf(quantity) === "max" ? "≤" : "≥"} ${withUnit(quantity, limit)}`;
}

// Without a budget of the search's own, the bound is what the quantity's better direction asks for.
export function boundOf(quantity) {
  if (quantity.budget !== null) return quantity.bound;
  return quantity.direction === "maximize" ? "min" : "max";
}

// A score is a bare number.
export function withUnit(quantity, value) {
  const number = String(Number(value.toPrecision(4)));
  return quantity.is_cost ? `${number} ${quantity.unit}` : number;
}

function legendEntry(text, ...shapes) {
  const isLine = shapes.some((shape) => shape.getAttribute("d") === "M1 7h24");
  const box = isLine ? { viewBox: "0 0 26 14", class: "wide" } : { viewBox: "0 0 14 14" };
  return element("li", {}, svg("svg", { ...box, "aria-hidden": "true" }, ...shapes), text);
}
