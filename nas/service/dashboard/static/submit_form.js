// The form of a search: rows of objectives and budgets that come and go, and the config that they stand for.

import { element } from "./shared/element.js";
import { byId } from "./shell.js";

const WORKLOADS = ["decode", "prefill", "encode"];
const DATA = [{ key: "data", label: "Data", value: "", placeholder: "org/name on the hub, or a file", needed: true }];
const WORK = [
  { key: "workload", label: "Workload", choices: WORKLOADS },
  { key: "batch_size", label: "Batch size", value: "1" },
  { key: "context_tokens", label: "Context (tokens)", value: "128" },
];
// What most people set; everything else can be set as YAML.
const OPTIONS = {
  lm_eval: [
    { key: "tasks", label: "Tasks", value: "minimal_pairs", isList: true, needed: true },
    { key: "limit", label: "Examples", value: "", placeholder: "all" },
  ],
  perplexity: [
    { key: "window_tokens", label: "Window (tokens)", value: "256" },
    { key: "limit", label: "Windows", value: "", placeholder: "all" },
  ],
  latency: WORK,
  memory: WORK,
  flops: [{ key: "context_tokens", label: "Context (tokens)", value: "128" }],
  accuracy: DATA,
  question_answering: DATA,
  token_classification: DATA,
};
let numRows = 0;

// A row for an evaluator, as an objective.
export function addObjective(name, onChange) {
  const row = element("div", { class: "choice-row" });
  const select = byId("evaluator-names").content.firstElementChild.cloneNode(true);
  const options = element("span", { class: "options" });
  select.setAttribute("aria-label", "Objective");
  select.value = name;
  const fill = () => options.replaceChildren(...(OPTIONS[select.value] ?? []).map((option) => field(option)));
  select.addEventListener("change", () => {
    fill();
    onChange();
  });
  fill();
  row.append(select, options, removeButton(row, "Remove this objective", onChange));
  byId("objectives").append(row);
  return select;
}

// A row for a budget on what an evaluator measures.
export function addLimit(name, bound, amount, onChange) {
  const row = element("div", { class: "choice-row" });
  const select = byId("evaluator-names").content.firstElementChild.cloneNode(true);
  const kind = element("select", { "aria-label": "Bound" }, ...["max", "min"].map((one) =>
    element("option", { value: one, selected: one === bound }, one === "max" ? "at most" : "at least")));
  const input = element("input", { value: amount, "aria-label": "Amount", placeholder: "0.6x", autocomplete: "off", size: 9 });
  select.setAttribute("aria-label", "Budget on");
  select.value = name;
  row.append(select, kind, input, removeButton(row, "Remove this budget", onChange));
  byId("limits").append(row);
  return select;
}

// What the form says, as a config. A number that is none stays a text: the check then says what is wrong with it.
export function configOf() {
  const budget = Object.fromEntries(
    [...byId("limits").children].map((row) => {
      const [name, bound] = [...row.querySelectorAll("select")].map((select) => select.value);
      return [name, { [bound]: row.querySelector("input").value.trim() }];
    }),
  );
  const config = {
    name: value("name"),
    model: value("model"),
    space: { type: value("space") },
    objectives: [...byId("objectives").children].map(objective),
    budget,
    strategy: { type: value("strategy") },
    recovery: { type: value("recovery") },
    trials: number(value("trials")),
    time: value("time"),
    seed: number(value("seed")),
  };
  if (value("recovery") === "none") delete config.recovery;
  if (!Object.keys(budget).length) delete config.budget;
  for (const key of ["trials", "time", "seed"]) if (config[key] === "") delete config[key];
  return config;
}

function objective(row) {
  const options = {};
  for (const input of row.querySelectorAll("[data-option]")) {
    const text = input.value.trim();
    if (text === "" && !input.required) continue;
    options[input.dataset.option] = "list" in input.dataset ? text.split(/[\s,]+/).filter(Boolean) : number(text);
  }
  const name = row.querySelector("select").value;
  return Object.keys(options).length ? { [name]: options } : name;
}

function field({ key, label, value: initial, placeholder, choices, isList, needed }) {
  const id = `option-${++numRows}`;
  const common = { id, "data-option": key, "data-list": isList, required: needed };
  const input = choices
    ? element("select", common, ...choices.map((choice) => element("option", {}, choice)))
    : element("input", { ...common, value: initial, placeholder, autocomplete: "off", size: isList || needed ? 18 : 6 });
  return element("span", { class: "option" }, element("label", { for: id }, label), input);
}

function removeButton(row, text, onChange) {
  const button = element("button", { type: "button", class: "quiet", "aria-label": text, title: text }, "✕");
  button.addEventListener("click", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next ?? byId("form")).querySelector("select, input")?.focus();
    onChange();
  });
  return button;
}

const value = (id) => byId(id).value.trim();

const number = (text) => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);
