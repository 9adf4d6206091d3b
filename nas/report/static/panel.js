// What there is to say of the point that is pointed at: its numbers, what it keeps, and its picture.

import { element } from "./element.js";
import { picture } from "./picture.js";

export const STATES = {
  front: "on the front",
  feasible: "dominated",
  infeasible: "outside the budget",
  partial: "judged on fewer examples",
  failed: "failed",
  supernet: "nothing removed",
};

// ``state`` may differ from the point's own, where it is looked at under another budget.
export function describePoint(data, point, state = point.state) {
  const kept = Object.entries(point.kept).map(([unit, share]) => `${unit} ${share}`);
  return [
    element("h2", {}, point.title, element("span", { class: "state" }, `${point.source}, ${STATES[state]}`)),
    ...(point.reason ? [element("p", {}, point.reason)] : []),
    ...numbersOf(data, point),
    element("div", { class: "note" }, `Kept: ${kept.join(", ")}`),
    picture(point.layers, data.shape),
  ];
}

// Whether the parts are unfolded, which the next point keeps.
let isUnfolded = false;

// A score's parts, such as each of a dozen tasks, are folded: the picture below would be out of sight.
function numbersOf(data, point) {
  const names = Object.keys(point.readings);
  const parts = names.filter((name) => name.includes("/"));
  const whole = tableOf(data, point, names.filter((name) => !name.includes("/")));
  if (!parts.length) return [whole];
  const folded = element("details", { class: "parts", open: isUnfolded },
    element("summary", {}, `${parts.length} more`), tableOf(data, point, parts));
  folded.addEventListener("toggle", () => (isUnfolded = folded.open));
  return [whole, folded];
}

function tableOf(data, point, names) {
  const lines = names.map((name) => [name, point.readings[name]]).map(([name, reading]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, data.quantities[name].title),
      element("td", { class: "number" }, [reading.text, ...reading.flags].join(", ")),
      element("td", { class: "number" }, point.number === null ? "" : (reading.ratio ?? "")),
    ),
  );
  if (point.fidelity < 1) {
    const share = `on ${Math.round(point.fidelity * 100)} % of the examples`;
    lines.push(element("tr", {}, element("td", { colspan: 3 }, share)));
  }
  const headings = ["measured", "of supernet"].map((text) => element("th", { class: "number", scope: "col" }, text));
  return element("table", {}, element("tr", {}, element("td"), ...headings), ...lines);
}
