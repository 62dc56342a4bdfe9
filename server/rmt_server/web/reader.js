import { cut, withWords } from "./passages.js";
import { byId, count, element, say } from "./words.js";

const AROUND_BYTES = 1200;
const MORE_BYTES = 6000;

/**
 * Shows a place of the text with what is around it, below the button that asked for it.
 *
 * There is one reader: it moves to where it is needed. Escape, its button, and the button that opened it close it.
 */
export class Reader {
  /** The button that it was opened by. */
  #opener = null;
  /** @type {import("./passages.js").Place | null} */
  #place = null;
  /** The bytes that are shown, and those that could be. */
  #first = 0;
  #last = 0;
  #low = 0;
  #high = 0;
  /** How often it was opened or closed: what comes after a later turn is old. */
  #turn = 0;

  /**
   * @param {any} app
   * @param {any} page The session's.
   */
  constructor(app, page) {
    this.app = app;
    this.page = page;
    byId("reader-close").addEventListener("click", () => this.close());
    byId("reader-earlier").addEventListener("click", () => app.attempt(() => this.#earlier()));
    byId("reader-later").addEventListener("click", () => app.attempt(() => this.#later()));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#opener) return;
      if (event.target !== this.#opener && !event.target.closest("#reader")) return;
      event.preventDefault();
      this.close();
    });
  }

  /**
   * Opens it at a place, or closes it where it is open for that.
   *
   * @param {HTMLElement} opener
   * @param {import("./passages.js").Place} place
   */
  async toggle(opener, place) {
    if (opener === this.#opener) {
      this.close();
      return;
    }
    const turn = ++this.#turn;
    const { signal } = this.page;
    const [low, high] = await this.#document(place);
    const around = [Math.max(low, place.start - AROUND_BYTES), Math.min(high, place.end + AROUND_BYTES)];
    const kept = await this.page.keptText(...around);
    if (turn !== this.#turn || signal.aborted || !opener.isConnected) return;
    this.#opener?.setAttribute("aria-expanded", "false");
    opener.setAttribute("aria-expanded", "true");
    [this.#opener, this.#place, this.#low, this.#high] = [opener, place, low, high];
    this.#show(kept);
  }

  /** Closes it, and goes back to where it was opened. */
  close() {
    const opener = this.#opener;
    this.leave(document);
    opener?.focus();
    if (opener) say("The text is closed.");
  }

  /** Closes it where it is in something that goes away. @param {Node} container */
  leave(container) {
    this.#turn += 1;
    if (!this.#opener || !container.contains(this.#opener)) return;
    this.#opener.setAttribute("aria-expanded", "false");
    this.#opener = this.#place = null;
    const reader = byId("reader");
    reader.hidden = true;
    byId("session").append(reader);
  }

  #show(kept) {
    const { start, end, query, answer_start: from = start, answer_end: to = from } = this.#place;
    [this.#first, this.#last] = [kept.start, kept.end];
    const edges = [start, from, to, end].map((byte) => byte - kept.start);
    const [before, head, answer, tail, behind] = cut(kept.text, ...edges);
    const inside = query ? withWords(head + answer + tail, query) : [head, answer && element("mark", {}, answer), tail];
    const mark = element("mark", { className: "quote" }, ...inside);
    const [reader, box] = [byId("reader"), byId("reader-text")];
    box.replaceChildren(before, mark, behind);
    byId("reader-where").textContent = whereOf(this.#place);
    this.#opener.parentElement.append(reader);
    reader.hidden = false;
    this.#showEdges();
    const target = mark.querySelector("mark") ?? mark;
    box.scrollTop += target.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
    box.focus({ preventScroll: true });
    reader.scrollIntoView({ block: "nearest" });
    this.page.picture.mark([start, end]);
    say(`The place is shown in the text, ${whereOf(this.#place)}. Escape goes back.`);
  }

  #showEdges() {
    const edges = [
      ["earlier", this.#first > this.#low, "Earlier", "The text begins here"],
      ["later", this.#last < this.#high, "Later", "The text ends here"],
    ];
    for (const [name, more, label, edge] of edges) {
      const button = byId(`reader-${name}`);
      button.textContent = more ? label : edge;
      button.ariaDisabled = String(!more); // and not `disabled`, which would take the focus away
    }
  }

  async #earlier() {
    if (this.#first <= this.#low) return;
    const kept = await this.#more(Math.max(this.#low, this.#first - MORE_BYTES), this.#first);
    if (!kept) return;
    const box = byId("reader-text");
    const { scrollHeight, scrollTop } = box;
    box.prepend(kept.text);
    box.scrollTop = scrollTop + box.scrollHeight - scrollHeight; // what was read stays where it was
    if (kept.start === this.#first) this.#low = this.#first; // nothing before is kept
    this.#first = kept.start;
    this.#showEdges();
    say(`Earlier text is shown, from byte ${count(this.#first)} on.`);
  }

  async #later() {
    const place = this.#place;
    if (this.#last >= this.#high) {
      const [, high] = await this.#document(place); // it may have grown
      if (place !== this.#place) return;
      this.#high = high;
    }
    const kept = await this.#more(this.#last, Math.min(this.#high, this.#last + MORE_BYTES));
    if (!kept) return;
    byId("reader-text").append(kept.text);
    if (kept.end === this.#last) this.#high = this.#last;
    this.#last = kept.end;
    this.#showEdges();
    say(`Later text is shown, up to byte ${count(this.#last)}.`);
  }

  /** More of the text; nothing where the reader was opened elsewhere meanwhile, or asked twice. */
  async #more(start, end) {
    const turn = ++this.#turn;
    const kept = start < end ? await this.page.keptText(start, end) : { start, end: start, text: "" };
    return turn === this.#turn ? kept : null;
  }

  /** From where to where the document of a place goes; all of the text where that is not known any more. */
  async #document({ document_id: id }) {
    const known = id && (await this.app.client.getDocument(this.page.id, id).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    }));
    return known ? [known.start, known.start + known.offset] : [0, this.page.acceptedBytes];
  }
}

function whereOf({ document, start, end, page, section }) {
  const known = [document ?? "", page ? `page ${count(page)}` : "", section ?? "", `bytes ${count(start)} to ${count(end)}`];
  return known.filter(Boolean).join(" · ");
}
