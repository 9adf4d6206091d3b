// A new search, by form or as YAML, checked by the service while it is written.

import { ask } from "./api.js";
import { addLimit, addObjective, configOf } from "./submit_form.js";
import { toYaml } from "./yaml.js";
import { byId, connected, maySubmit, problem, run } from "./shell.js";

const REST_MS = 350;
const TABS = ["form", "yaml"];
let current = "form";
let timer = null;
let checking = null;
// One for each config: submitting twice, after a broken connection say, makes one search.
let attempt = { text: null, key: null };

const textNow = () => (current === "form" ? toYaml(configOf()) : byId("yaml").value);

function changed() {
  if (current === "form") byId("preview").textContent = textNow();
  say("checking", "Checking …");
  clearTimeout(timer);
  timer = setTimeout(check, REST_MS);
}

async function check() {
  clearTimeout(timer);
  checking?.abort();
  checking = new AbortController();
  try {
    const { config } = await ask("/v1/check", { method: "POST", config: textNow(), signal: checking.signal });
    const ends = [config.trials && `${config.trials} trials`, config.time].filter(Boolean).join(" or ");
    say("good", `Good: ${config.objectives.length} objectives on ${config.model.name}, ${ends}.`);
    point(null);
    connected(true);
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    connected(!error.isUnreachable);
    say("bad", error.message);
    point(error.message);
    return false;
  }
}

function say(kind, text) {
  const sign = { good: "✓ ", bad: "✕ ", checking: "" }[kind];
  byId("verdict").dataset.kind = kind;
  if (byId("verdict").textContent !== sign + text) byId("verdict").textContent = sign + text;
}

// Marks the part of the form that a sentence is about.
function point(sentence) {
  for (const place of byId("form").querySelectorAll("[data-key]")) {
    const is = sentence !== null && about(sentence, place.dataset.key);
    if (is) place.setAttribute("aria-invalid", "true");
    else place.removeAttribute("aria-invalid");
    showBeside(place, is ? sentence : null);
  }
}

// Sentences on a key begin with where it is; those on models, which are refused, with what.
function about(sentence, key) {
  const [, path] = /^In the config, ([\w.]+)/.exec(sentence) ?? [];
  if (path !== undefined) return path.split(".")[0] === key;
  if (key === "model") return /^(A model|trust_remote_code)/.test(sentence);
  return key === "trials" && /a search must end/.test(sentence);
}

function showBeside(place, sentence) {
  const id = `wrong-${place.dataset.key}`;
  byId(id)?.remove();
  const others = (place.getAttribute("aria-describedby") ?? "").split(" ").filter((one) => one && one !== id);
  if (sentence !== null) {
    const note = document.createElement("p");
    note.id = id;
    note.className = "wrong";
    note.textContent = sentence.replace(/^In the config, [\w.]+:? ?/, "");
    place.after(note);
    others.push(id);
  }
  if (others.length) place.setAttribute("aria-describedby", others.join(" "));
  else place.removeAttribute("aria-describedby");
}

async function submit() {
  const text = textNow();
  if (attempt.text !== text) attempt = { text, key: newKey() };
  byId("submit").disabled = true;
  try {
    problem(byId("problem"), null);
    const headers = { "Idempotency-Key": attempt.key };
    const { id } = await ask("/v1/searches", { method: "POST", config: text, headers });
    location.assign(`/searches/${id}`);
  } catch (error) {
    problem(byId("problem"), error);
    byId("submit").disabled = false;
  }
}

// Not crypto.randomUUID: browsers have that on secure pages only, and loopback is not the only place.
function newKey() {
  const numbers = crypto.getRandomValues(new Uint8Array(16));
  return [...numbers].map((number) => number.toString(16).padStart(2, "0")).join("");
}

function choose(tab) {
  if (tab === "yaml" && current === "form") byId("yaml").value = textNow();
  current = tab;
  for (const name of TABS) {
    byId(`${name}-tab`).setAttribute("aria-selected", String(name === tab));
    byId(`${name}-tab`).tabIndex = name === tab ? 0 : -1;
    byId(`${name}-view`).hidden = name !== tab;
  }
  byId("preview-box").hidden = tab !== "form";
  changed();
}

for (const tab of TABS) {
  byId(`${tab}-tab`).addEventListener("click", () => choose(tab));
  byId(`${tab}-tab`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = TABS.find((one) => one !== tab);
    choose(other);
    byId(`${other}-tab`).focus();
  });
}
byId("form").addEventListener("input", changed);
byId("form").addEventListener("submit", (event) => event.preventDefault());
byId("yaml").addEventListener("input", changed);
byId("submit").addEventListener("click", submit);
byId("add-objective").addEventListener("click", () => {
  addObjective("parameters", changed).focus();
  changed();
});
byId("add-limit").addEventListener("click", () => {
  addLimit("latency", "max", "0.6x", changed).focus();
  changed();
});
byId("file").addEventListener("change", async () => {
  const [file] = byId("file").files;
  if (!file) return;
  byId("yaml").value = await file.text();
  changed();
});

run(async (session) => {
  addObjective("lm_eval", changed);
  addObjective("latency", changed);
  addLimit("latency", "max", "0.6x", changed);
  if (!maySubmit(session)) {
    byId("submit").disabled = true;
    problem(byId("problem"), { message: "This token may read only; ask an administrator for one with the scope submit.", kind: "scope" });
  }
  changed();
});
