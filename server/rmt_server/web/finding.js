import { placeButton, snippetOf } from "./passages.js";
import { byId, count, element, say } from "./words.js";

const SHOWN = 8;

/** Finds passages of the text by their words. */
export class Finding {
  #asked = 0;

  /**
   * @param {any} app
   * @param {any} page The session's.
   */
  constructor(app, page) {
    this.app = app;
    this.page = page;
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      const query = byId("query").value.trim();
      if (query) app.attempt(() => this.#find(query));
    });
  }

  async #find(query) {
    const { id, signal } = this.page;
    const asked = ++this.#asked;
    const { passages } = await this.app.client.search(id, query, { limit: SHOWN, signal });
    if (asked !== this.#asked || signal.aborted) return; // something else was looked for meanwhile
    this.#clear();
    const told = toldOf(passages.length);
    const close = element("button", { type: "button" }, "Clear");
    close.setAttribute("aria-label", `Clear what was found for ${query}`);
    close.addEventListener("click", () => {
      this.#clear();
      byId("query").focus(); // its button is gone
    });
    const places = passages.map((passage) => {
      const place = { ...passage, query };
      return element("li", {}, placeButton(this.page, place, snippetOf(passage.text, query)));
    });
    const list = element("ol", { className: "places" }, ...places);
    list.setAttribute("aria-label", `Found for ${query}`);
    const head = element("p", { className: "asked" }, `Find in the text: ${query}`);
    const how = element("p", { className: "sure quiet" }, element("span", { className: "told" }, told), close);
    byId("answers").prepend(element("li", { className: "found" }, head, how, ...(places.length ? [list] : [])));
    say(told);
  }

  #clear() {
    for (const entry of byId("answers").querySelectorAll(".found")) {
      this.page.reader.leave(entry);
      entry.remove();
    }
  }
}

function toldOf(places) {
  if (places === 0) return "No place has these words.";
  return places === 1 ? "1 place" : `${count(places)} places, the best first`;
}
