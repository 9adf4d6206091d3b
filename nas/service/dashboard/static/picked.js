// What would be picked within the budgets: at once by this page, and by the service once they have come to rest.

import { ask, searchPath } from "./api.js";
import { plural } from "./format.js";
import { asQuery } from "./pick.js";
import { element } from "./shared/element.js";

const REST_MS = 200;

export class Picked {
  constructor(id, { place, served }, { onShow, onExport }) {
    this.id = id;
    this.place = place;
    this.served = served;
    this.onShow = onShow;
    this.onExport = onExport;
    this.pick = null;
    this.asking = null;
    this.timer = null;
  }

  show({ data, pick, numFitting, numEligible, front, mayExport }) {
    this.pick = pick;
    const fit = element("p", { class: "fit" }, element("strong", {}, `${numFitting} of ${numEligible}`), " trials fit");
    if (pick !== null) fit.append(`, ${front.length} of them on the front.`);
    const hadFocus = document.activeElement?.id;
    this.place.replaceChildren(fit, ...(pick === null ? nothing(numEligible) : this.#describe(data, pick, mayExport)));
    if (this.place.querySelector(`#${hadFocus || "none"}`)) document.getElementById(hadFocus).focus();
  }

  #describe(data, pick, mayExport) {
    const numbers = data.objectives.map((name) => {
      const { text, ratio } = pick.readings[name];
      const title = data.quantities[name].title;
      return element("li", {}, `${title} `, element("strong", {}, text), ratio ? ` (${ratio} of the supernet's)` : "");
    });
    const show = element("button", { type: "button", id: "show-pick" }, "Show it");
    show.addEventListener("click", () => this.onShow(pick.number));
    const actions = [show];
    if (mayExport) {
      const take = element("button", { type: "button", id: "export-pick", class: "primary" }, `Export trial ${pick.number}`);
      take.addEventListener("click", () => this.onExport(pick.number));
      actions.unshift(take);
    }
    return [
      element("div", { class: "picked", "data-number": pick.number },
        element("h3", {}, `Picked: trial ${pick.number}`),
        element("ul", { class: "numbers" }, ...numbers),
        element("div", { class: "actions" }, ...actions)),
    ];
  }

  // Asks the service, which has the last word. Answers to earlier questions are dropped.
  async ask(data, budgets) {
    this.asking?.abort();
    clearTimeout(this.timer);
    const asking = new AbortController();
    this.asking = asking;
    await new Promise((resolve) => (this.timer = setTimeout(resolve, REST_MS)));
    if (asking.signal.aborted) return;
    try {
      const found = await ask(`${searchPath(this.id, "pick")}?${asQuery(data, budgets)}`, { signal: asking.signal });
      const isSame = found.number === this.pick?.number;
      this.#say(isSame ? `The service picks trial ${found.number} too.` : `The service picks trial ${found.number}.`);
      this.served.dataset.number = found.number;
    } catch (error) {
      if (error.name === "AbortError" || error.isUnreachable) return;
      this.#say(error.message);
      delete this.served.dataset.number;
    }
  }

  #say(text) {
    if (this.served.textContent !== text) this.served.textContent = text;
  }
}

function nothing(numEligible) {
  const text = numEligible
    ? "Nothing fits: relax a budget."
    : `There is ${plural(0, "finished trial")} to pick from yet.`;
  return [element("p", { class: "note" }, text)];
}
