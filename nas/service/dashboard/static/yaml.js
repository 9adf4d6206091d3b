// A config as YAML: mappings, lists, texts and numbers, no more than configs hold.

const PLAIN = /^[A-Za-z_./][\w./ -]*$/;
const SPECIAL = /^(true|false|null|yes|no|on|off|y|n|~)$/i;

export function toYaml(config) {
  return Object.entries(config)
    .map(([key, value]) => `${key}:${block(value)}`)
    .join("\n")
    .concat("\n");
}

// A list is one entry a line, the rest stays on the line of its key.
function block(value) {
  if (!Array.isArray(value) || value.every((entry) => typeof entry !== "object")) return ` ${flow(value)}`;
  return value.map((entry) => `\n  - ${isMapping(entry) ? pair(entry) : flow(entry)}`).join("");
}

// {latency: {…}} as "latency: {…}".
function pair(mapping) {
  const entries = Object.entries(mapping);
  return entries.length === 1 ? `${scalar(entries[0][0])}: ${flow(entries[0][1])}` : flow(mapping);
}

function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (isMapping(value)) return `{${Object.entries(value).map(([key, one]) => `${scalar(key)}: ${flow(one)}`).join(", ")}}`;
  return scalar(value);
}

// A text that YAML might take for something else is quoted, as JSON does it.
function scalar(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  return PLAIN.test(value) && !SPECIAL.test(value) && value.trim() === value ? value : JSON.stringify(value);
}

function isMapping(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
