// What the search's worker said, line by line; it stays at the end unless somebody scrolled up to read.

import { ask, searchPath } from "./api.js";
import { clock } from "./format.js";
import { element } from "./shared/element.js";

const PAGE = 500;
const MAX_LINES = 2000;
const NEAR_PX = 40;

export class Log {
  constructor(id, place) {
    this.id = id;
    this.place = place;
    this.last = 0;
    this.loading = null;
    this.again = false;
    place.textContent = "Nothing was said yet.";
  }

  // Fetches what came after the last line; asked while it does, it does so once more.
  async load() {
    this.again = true;
    this.loading ??= this.#loadAll().finally(() => (this.loading = null));
    return this.loading;
  }

  async #loadAll() {
    while (this.again) {
      this.again = false;
      let lines;
      do {
        ({ lines } = await ask(`${searchPath(this.id, "logs")}?after=${this.last}&limit=${PAGE}`));
        this.#add(lines);
      } while (lines.length === PAGE);
    }
  }

  #add(lines) {
    if (!lines.length) return;
    const { place } = this;
    const isAtEnd = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_PX;
    if (!this.last) place.replaceChildren();
    this.last = lines.at(-1).number;
    place.append(...lines.slice(-MAX_LINES).map(entry));
    while (place.childElementCount > MAX_LINES) place.firstChild.remove();
    if (isAtEnd) place.scrollTop = place.scrollHeight;
  }
}

// Most lines begin with when they were written, which the clock says in the reader's own time.
const WRITTEN_AT = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)? /;

function entry(line) {
  const text = line.text.replace(WRITTEN_AT, "");
  return element("div", {}, element("span", { class: "faint" }, `${clock(line.at)} `), text);
}
