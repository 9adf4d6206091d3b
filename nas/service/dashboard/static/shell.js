// The frame of every page: who is there, where they are, and whether the service answers.

import { ask } from "./api.js";
import { element } from "./shared/element.js";

export const byId = (id) => document.getElementById(id);

// Who is there; a page begins with it.
export async function begin() {
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
  }
  const session = await ask("/session");
  const who = [element("span", { title: session.scopes.join(", ") }, session.owner)];
  if (session.needs_token) {
    const out = element("button", { type: "button", class: "quiet" }, "Log out");
    out.addEventListener("click", async () => {
      await ask("/session", { method: "DELETE" });
      location.assign("/login");
    });
    who.push(out);
  }
  byId("who").replaceChildren(...who);
  return session;
}

// Runs a page; what goes wrong on the way is shown, and tried again while the service is away.
export async function run(page) {
  try {
    const session = await begin();
    await page(session);
    connected(true);
  } catch (error) {
    if (error.isUnreachable) {
      connected(false);
      setTimeout(() => run(page), 2000);
    } else {
      problem(byId("problem"), error);
    }
  }
}

// Says so at the top of the page while the service does not answer.
export function connected(is) {
  const text = is ? "" : "Reconnecting … the service does not answer. What is shown may be old.";
  if (byId("connection").textContent !== text) byId("connection").textContent = text;
}

// Shows what went wrong, or nothing where nothing did.
export function problem(place, error) {
  if (error !== null && !error.kind && !(error instanceof TypeError)) console.error(error);
  place.hidden = error === null;
  place.textContent = error === null ? "" : error.message;
}

// May change things: the server would refuse others.
export const maySubmit = (session) => session.scopes.some((scope) => scope === "submit" || scope === "admin");

let plotly = null;

// Plotly is large: it is loaded beside everything else, and once.
export function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = element("script", { src: document.body.dataset.plotly });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("The chart's script did not load; reload the page.")));
    document.head.append(script);
  });
  return plotly;
}
