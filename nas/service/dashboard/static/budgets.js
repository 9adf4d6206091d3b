// Budgets as rows of controls: what is limited, a number, and a slider over what was measured.

import { element } from "./shared/element.js";
import { boundOf, withUnit } from "./shared/legend.js";
import { valuesOf } from "./shared/charts.js";

const STEPS = 400;
const MARGIN = 0.03;

export class Budgets {
  // ``onInput()`` while something moves, ``onChange()`` when it has come to rest.
  constructor(place, addButton, { onInput, onChange }) {
    this.place = place;
    this.addButton = addButton;
    this.onInput = onInput;
    this.onChange = onChange;
    this.budgets = null;
    this.rows = new Map();
    addButton.addEventListener("click", () => this.#add());
  }

  // Looks at new data; the search's own budgets are the first ones, and without any one that nothing exceeds.
  update(data) {
    this.data = data;
    if (this.budgets === null) {
      const own = Object.entries(data.quantities).filter(([, quantity]) => quantity.budget !== null);
      this.budgets = own.map(([name, quantity]) => ({ name, limit: quantity.budget }));
      if (!own.length) this.budgets.push(this.#widest(data.x));
    }
    this.#show();
  }

  // From the chart's line.
  set(name, limit) {
    const budget = this.budgets.find((one) => one.name === name);
    if (!budget) return;
    budget.limit = rounded(limit);
    this.#show();
  }

  #widest(name) {
    const [low, high] = this.#range(name);
    return { name, limit: boundOf(this.data.quantities[name]) === "max" ? high : low };
  }

  #add() {
    const taken = new Set(this.budgets.map(({ name }) => name));
    const free = Object.keys(this.data.quantities).find((name) => !taken.has(name));
    if (free === undefined) return;
    this.budgets.push(this.#widest(free));
    this.#show();
    this.rows.get(free).range.focus();
    this.onInput();
    this.onChange();
  }

  #show() {
    for (const [name, row] of [...this.rows]) {
      if (this.budgets.some((budget) => budget.name === name)) continue;
      row.box.remove();
      this.rows.delete(name);
    }
    for (const budget of this.budgets) {
      if (!this.rows.has(budget.name)) this.rows.set(budget.name, this.#row(budget));
      this.#fill(this.rows.get(budget.name), budget);
      this.place.append(this.rows.get(budget.name).box);
    }
    this.addButton.hidden = this.budgets.length >= Object.keys(this.data.quantities).length;
  }

  #row(budget) {
    const { quantities } = this.data;
    const quantity = quantities[budget.name];
    const select = element("select", { "aria-label": "What the budget limits" });
    const number = element("input", { type: "number", step: "any", min: 0, inputmode: "decimal", "data-name": budget.name });
    const range = element("input", { type: "range", min: 0, max: STEPS, step: 1, "data-name": budget.name });
    const remove = element("button", { type: "button", class: "quiet", title: "Remove this budget" }, "✕");
    const words = `${quantity.title} ${boundOf(quantity) === "max" ? "at most" : "at least"}`;
    number.setAttribute("aria-label", `${words}, ${quantity.unit}`);
    range.setAttribute("aria-label", words);
    remove.setAttribute("aria-label", `Remove the budget on ${quantity.title}`);
    const unit = element("span", { class: "unit" }, quantity.is_cost ? quantity.unit : "");
    const bound = element("span", { class: "bound" }, boundOf(quantity) === "max" ? "≤" : "≥");
    const box = element(
      "div",
      { class: "budget-row", role: "group", "aria-label": `Budget on ${quantity.title}` },
      ...[select, bound, element("span", { class: "amount" }, number, unit), range, remove],
    );
    select.addEventListener("change", () => this.#replace(budget, select.value));
    number.addEventListener("input", () => this.#take(budget, Number(number.value)));
    number.addEventListener("change", this.onChange);
    range.addEventListener("input", () => this.#take(budget, this.#valueAt(budget.name, Number(range.value) / STEPS)));
    range.addEventListener("change", this.onChange);
    remove.addEventListener("click", () => {
      this.budgets = this.budgets.filter((one) => one !== budget);
      this.#show();
      this.addButton.focus();
      this.onInput();
      this.onChange();
    });
    return { box, select, number, range };
  }

  #fill({ select, number, range }, budget) {
    const { quantities } = this.data;
    const taken = new Set(this.budgets.map(({ name }) => name));
    const names = Object.keys(quantities).filter((name) => name === budget.name || !taken.has(name));
    if ([...select.options].map((option) => option.value).join() !== names.join())
      select.replaceChildren(...names.map((name) => element("option", { value: name }, quantities[name].title)));
    select.value = budget.name;
    if (document.activeElement !== number) number.value = rounded(budget.limit);
    if (document.activeElement !== range || !range.matches(":active"))
      range.value = Math.round(STEPS * this.#placeOf(budget.name, budget.limit));
    range.setAttribute("aria-valuetext", withUnit(quantities[budget.name], budget.limit));
  }

  #replace(budget, name) {
    const place = this.budgets.indexOf(budget);
    this.budgets[place] = this.#widest(name);
    this.#show();
    this.rows.get(name).select.focus();
    this.onInput();
    this.onChange();
  }

  #take(budget, limit) {
    if (!Number.isFinite(limit) || limit <= 0) return;
    budget.limit = limit;
    this.#show();
    this.onInput();
  }

  // A little less than the least and more than the most that was measured.
  #range(name) {
    const measured = valuesOf(this.data, name);
    const [low, high] = [Math.min(...measured), Math.max(...measured)];
    if (this.#isLogarithmic(name)) return [rounded(low * 0.9), rounded(high * 1.1)];
    const margin = MARGIN * (high - low || Math.abs(high) || 1);
    return [rounded(Math.max(low - margin, Math.min(low, high / 1e4))), rounded(high + margin)];
  }

  #isLogarithmic(name) {
    return this.data.quantities[name].logarithmic;
  }

  #valueAt(name, share) {
    const [low, high] = this.#range(name);
    return rounded(this.#isLogarithmic(name) ? low * (high / low) ** share : low + share * (high - low));
  }

  #placeOf(name, value) {
    const [low, high] = this.#range(name);
    if (high === low) return 1;
    const share = this.#isLogarithmic(name) ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return Math.max(0, Math.min(1, share));
  }
}

// Four digits are more than what is measured can tell apart.
function rounded(value) {
  return Number(value.toPrecision(4));
}
