// Exports of a search: asked for, looked at until they are done, downloaded.

import { ask, pause, searchPath } from "./api.js";
import { badge, bytes, isOver, moment } from "./format.js";
import { element } from "./shared/element.js";
import { problem } from "./shell.js";

const LOOK_S = 1;

export class Exports {
  constructor(id, { list, empty, problem: problemPlace, news }) {
    this.id = id;
    this.list = list;
    this.empty = empty;
    this.problemPlace = problemPlace;
    this.news = news;
    this.known = new Map();
    this.isLooking = false;
  }

  async start(trial) {
    try {
      problem(this.problemPlace, null);
      const made = await ask(searchPath(this.id, "export"), { method: "POST", body: { trial, to: "huggingface" } });
      this.news.textContent = `Export of trial ${trial}: ${made.state}.`;
      await this.load();
      this.list.querySelector(`[data-id="${made.id}"]`)?.scrollIntoView({ block: "nearest", behavior: "smooth" });
    } catch (error) {
      problem(this.problemPlace, error);
    }
  }

  // Shows all, and looks again for as long as one is under way.
  async load() {
    const busy = await this.#look();
    if (!busy || this.isLooking) return;
    this.isLooking = true;
    try {
      do await pause(LOOK_S);
      while (await this.#look().catch((error) => this.#mayGoOn(error)));
    } finally {
      this.isLooking = false;
    }
  }

  async #look() {
    const { exports } = await ask(searchPath(this.id, "exports"));
    this.empty.hidden = exports.length > 0;
    for (const one of exports) {
      if (this.known.has(one.id) && this.known.get(one.id) !== one.state && isOver(one.state))
        this.news.textContent = `Export of trial ${one.trial}: ${one.state}.`;
      this.known.set(one.id, one.state);
    }
    const print = JSON.stringify(exports);
    if (print !== this.print) {
      const focused = document.activeElement?.id;
      this.list.replaceChildren(...exports.map(entry));
      if (focused?.startsWith("download-")) document.getElementById(focused)?.focus();
    }
    this.print = print;
    return exports.some((one) => !isOver(one.state));
  }

  #mayGoOn(error) {
    if (!error.isUnreachable) problem(this.problemPlace, error);
    return error.isUnreachable;
  }
}

function entry(one) {
  const isReady = one.state === "complete";
  const link = element(
    "a",
    { class: "button", id: `download-${one.id}`, href: `/v1/exports/${one.id}/download`, download: one.file_name },
    `Download ${one.file_name}`,
  );
  const facts = isReady ? `${bytes(one.num_bytes)}, SHA-256 ${one.sha256.slice(0, 12)}…` : one.reason;
  return element(
    "li",
    { "data-id": one.id, "data-trial": one.trial },
    element("strong", {}, `Trial ${one.trial}`),
    badge(one.state),
    ...(isOver(one.state) ? [] : [element("progress", { "aria-label": `Export of trial ${one.trial}` })]),
    ...(isReady ? [link] : []),
    element("span", { class: "faint", title: isReady ? one.sha256 : null }, facts),
    element("span", { class: "faint" }, moment(one.created_at)),
  );
}
