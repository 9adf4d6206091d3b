// Which trials fit budgets, and which would be picked: the rule of the service, computed here so that it follows a
// finger. A budget is {name, limit}, the limit in the unit that is shown.

import { boundOf } from "./shared/legend.js";
import { valueOf } from "./shared/charts.js";

// In the unit that the service keeps. Twelve digits: what dividing and multiplying leave behind does not count.
export function stored(quantity, shown) {
  return Number((shown / quantity.factor).toPrecision(12));
}

// What twelve digits may leave out, so that the service lets pass what equals the limit here.
const SLACK = 1e-11;

// What no measurement exceeds.
const NO_LIMIT = { max: 1e300, min: 1e-300 };

// As the service reads it: max=decode_latency=0.0031. A question without budgets would be one within the search's own.
export function asQuery(data, budgets) {
  const query = new URLSearchParams();
  if (!budgets.length) {
    const cost = data.objectives.find((name) => boundOf(data.quantities[name]) === "max") ?? data.objectives[0];
    const bound = boundOf(data.quantities[cost]);
    query.append(bound, `${cost}=${NO_LIMIT[bound]}`);
  }
  for (const { name, limit } of budgets) {
    const quantity = data.quantities[name];
    const bound = boundOf(quantity);
    query.append(bound, `${name}=${stored(quantity, limit) * (bound === "max" ? 1 + SLACK : 1 - SLACK)}`);
  }
  return query;
}

export function fits(data, budgets, point) {
  return budgets.every(({ name, limit }) => {
    const [quantity, value] = [data.quantities[name], valueOf(point, name)];
    if (value === null) return false;
    const excess = stored(quantity, value) - stored(quantity, limit);
    return boundOf(quantity) === "max" ? excess <= 0 : excess >= 0;
  });
}

// Complete, at full fidelity, with every objective a number; the supernet is one of them by its trial.
export function isEligible(data, point) {
  const hasAll = data.objectives.every((name) => valueOf(point, name) !== null);
  return point.number !== null && point.state !== "failed" && point.fidelity === 1 && hasAll;
}

// The feasible trials that no other beats, by the first objective from best to worst.
export function frontWithin(data, budgets) {
  const rows = data.points
    .filter((point) => isEligible(data, point) && fits(data, budgets, point))
    .map((point) => ({ point, values: data.objectives.map((name) => minimised(data, point, name)) }));
  rows.sort((a, b) => compareLists(a.values, b.values) || a.point.number - b.point.number);
  const members = [];
  // Sorted so, a row can be beaten by those before it alone.
  for (const row of rows) if (!members.some((member) => beats(member.values, row.values))) members.push(row);
  return members.map((member) => member.point);
}

// The best in the first objective; null where nothing fits. Of equals, the one with the lowest number.
export function pickFrom(data, front) {
  if (!front.length) return null;
  const [first] = data.objectives;
  const best = minimised(data, front[0], first);
  const equals = front.filter((point) => minimised(data, point, first) === best);
  return equals.reduce((one, other) => (other.number < one.number ? other : one));
}

// How each point stands under the budgets, by the point.
export function standings(data, budgets) {
  const members = new Set(frontWithin(data, budgets));
  return new Map(data.points.map((point) => [point, members.has(point) ? "front" : standing(data, budgets, point)]));
}

function standing(data, budgets, point) {
  if (point.state === "failed") return "failed";
  if (isFull(point)) return "supernet";
  if (!fits(data, budgets, point)) return "infeasible";
  return point.fidelity === 1 ? "feasible" : "partial";
}

function isFull(point) {
  return point.layers.every((layer) => !layer.heads.includes("0") && /^f*$/.test(layer.bins));
}

function minimised(data, point, name) {
  const value = valueOf(point, name);
  return data.quantities[name].direction === "maximize" ? -value : value;
}

function compareLists(a, b) {
  const place = a.findIndex((value, index) => value !== b[index]);
  return place < 0 ? 0 : a[place] - b[place];
}

function beats(a, b) {
  return a.every((value, index) => value <= b[index]) && a.some((value, index) => value < b[index]);
}
