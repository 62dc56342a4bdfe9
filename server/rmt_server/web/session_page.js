import { Answers } from "./answers.js";
import { MemoryPicture } from "./picture.js";
import { Snapshots } from "./snapshots.js";
import { byId, count, element, inWords, size } from "./words.js";

const SPEED_S = 5;
const REDRAW_MS = 700;
const SHOWN_BYTES = 4096;

/** One session as it is being read: how far, at which speed, and what its memory did. */
export class SessionPage {
  #leaving = new AbortController();
  /** Uploads of this page, by session. */
  #sending = new Map();
  #session = null;
  #lane = 0;
  #speeds = [];
  #drawn = 0;
  #redraw = 0;
  /** How often the memory was asked for: what comes after a later answer is old. */
  #asked = 0;

  /** @param {any} app */
  constructor(app) {
    this.app = app;
    this.picture = new MemoryPicture(byId("picture"), (start, stop) => app.attempt(() => this.#showText(start, stop)));
    this.answers = new Answers(app, this);
    this.snapshots = new Snapshots(app, this);
    byId("more-file").addEventListener("change", (event) => this.#sendMore(event.target));
    byId("resume-file").addEventListener("change", (event) => this.#resume(event.target));
    byId("end-upload").addEventListener("click", () => app.attempt(() => this.#endUpload()));
    byId("delete-session").addEventListener("click", () => app.attempt(() => this.#delete()));
  }

  /** The id of the session that is shown. */
  get id() {
    return this.#session?.id ?? "";
  }

  /** Stops following. */
  leave() {
    this.#leaving.abort();
    this.#session = null;
    clearTimeout(this.#redraw);
  }

  /** @param {string} sessionId */
  async show(sessionId) {
    this.leave();
    this.#leaving = new AbortController();
    const { signal } = this.#leaving;
    this.#speeds = [];
    this.#lane = 0;
    this.#drawn = 0;
    byId("place").hidden = true;
    byId("unfinished").hidden = true;
    this.picture.clear();
    this.answers.clear();
    const session = await this.app.client.getSession(sessionId);
    if (signal.aborted) return; // another one is shown by now
    this.#session = session;
    byId("title").textContent = this.#session.metadata.title ?? sessionId;
    document.title = `${byId("title").textContent} · rmt-server`;
    this.#showLanes();
    this.#showProgress();
    this.app.attempt(() => this.#showMemory());
    await Promise.all([this.snapshots.show(), this.#showUnfinished()]);
    if (!signal.aborted) this.#follow(signal);
  }

  /**
   * Sends a document; the page may be elsewhere meanwhile.
   *
   * @param {string} sessionId
   * @param {Blob} source
   * @param {string} name
   * @param {string} [documentId] An upload that broke off.
   */
  async send(sessionId, source, name, documentId) {
    const leave = (event) => event.preventDefault(); // the browser asks first: what is not sent yet would be lost
    addEventListener("beforeunload", leave);
    this.#sending.set(sessionId, { total: source.size, sent: 0, trouble: "" });
    try {
      await this.app.client.read(sessionId, source, {
        wait: false,
        documentId,
        onProgress: ({ sentBytes, trouble, documentId: known }) => {
          this.#sending.set(sessionId, { total: source.size, sent: sentBytes, trouble });
          localStorage.setItem(uploadOf(sessionId), JSON.stringify({ name, size: source.size, documentId: known }));
          if (sessionId === this.id) this.#showProgress();
        },
      });
      localStorage.removeItem(uploadOf(sessionId));
    } catch (error) {
      this.app.said(`${name} was not sent to its end. ${inWords(error)}`);
    } finally {
      this.#sending.delete(sessionId);
      removeEventListener("beforeunload", leave);
      if (sessionId === this.id) await this.app.attempt(() => this.#showUnfinished());
    }
  }

  /** Shows where in the text something was found. @param {any} trace */
  async showTrace(trace) {
    this.picture.mark(trace.bytes);
    await this.#showText(trace.bytes[0], trace.bytes[1], trace.excerpt);
  }

  async #follow(signal) {
    try {
      for await (const event of this.app.client.events(this.id, { signal })) {
        if (event.kind === "error") this.app.said(event.data.detail ?? event.data.title);
        else Object.assign(this.#session, event.data);
        if (event.kind === "snapshot" || event.kind === "done") this.app.attempt(() => this.snapshots.show());
        this.#showProgress();
        this.#showMemorySoon();
      }
    } catch (error) {
      if (!signal.aborted) this.app.said(inWords(error));
    }
  }

  #showProgress() {
    const { accepted_bytes: accepted, read_bytes: read, tokens, segments, status } = this.#session;
    const sending = this.#sending.get(this.id);
    const total = Math.max(accepted + (sending ? sending.total - sending.sent : 0), 1);
    const bar = byId("progress");
    bar.max = total;
    bar.value = read;
    const now = performance.now() / 1000;
    this.#speeds = [...this.#speeds.filter((one) => now - one.at < SPEED_S), { at: now, tokens }];
    const { at, tokens: before } = this.#speeds[0];
    const reads = status === "reading" || sending !== undefined;
    const facts = [
      reads ? `read ${size(read)} of ${size(total)}` : `read: ${size(read)}`,
      `${count(tokens)} tokens in ${count(segments)} segments`,
      reads && now - at > 0.5 && tokens > before ? `${count((tokens - before) / (now - at))} tokens/s` : "",
      `remembered in ${size(this.#session.state_bytes ?? 0)}`,
      sending?.trouble ?? "",
    ];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
  }

  #showLanes() {
    const { focus } = this.#session;
    byId("focused").hidden = focus.length === 0;
    byId("lanes").replaceChildren(...focus.map((question, lane) => this.#laneEntry(question, lane)));
    byId("focuses").replaceChildren(...focus.map((value) => element("option", { value })));
  }

  /** A focus: its memory can be shown, and it can be asked. */
  #laneEntry(question, lane) {
    const show = element("button", { type: "button" }, "Show its memory");
    show.setAttribute("aria-pressed", String(lane === this.#lane));
    show.addEventListener("click", () => {
      for (const other of byId("lanes").querySelectorAll("[aria-pressed]")) {
        other.setAttribute("aria-pressed", String(other === show));
      }
      this.#lane = lane;
      this.app.attempt(() => this.#showMemory());
    });
    const ask = element("button", { type: "button" }, "Ask");
    ask.addEventListener("click", () => this.answers.ask(question));
    for (const button of [show, ask]) button.setAttribute("aria-label", `${button.textContent}: ${question}`);
    return element("li", {}, element("span", { className: "what" }, question), show, ask);
  }

  #showMemorySoon() {
    clearTimeout(this.#redraw);
    const wait = Math.max(0, this.#drawn + REDRAW_MS - performance.now());
    this.#redraw = setTimeout(() => this.app.attempt(() => this.#showMemory()), wait);
  }

  async #showMemory() {
    this.#drawn = performance.now();
    const { signal } = this.#leaving;
    const asked = ++this.#asked;
    const movements = await this.app.client.movements(this.id, { lane: this.#lane, signal });
    if (asked !== this.#asked || signal.aborted) return; // it was asked for anew meanwhile, perhaps of another lane
    this.picture.show(movements);
    const each = movements.segments_each;
    byId("caption-columns").textContent = `Each column is ${each > 1 ? `${count(each)} segments` : "a segment"} of the text`;
  }

  async #showText(start, stop, excerpt = "") {
    const { text, start: first, end } = await this.#keptText(Math.max(start, stop - SHOWN_BYTES), stop);
    byId("place-title").textContent = `Bytes ${count(first)} to ${count(end)}`;
    const at = excerpt ? text.indexOf(excerpt) : -1;
    byId("place-text").replaceChildren(
      ...(at < 0
        ? [text]
        : [text.slice(0, at), element("mark", {}, excerpt), text.slice(at + excerpt.length)]),
    );
    byId("place").hidden = false;
    byId("place-text").querySelector("mark")?.scrollIntoView({ block: "nearest" });
  }

  /** What is kept of a part of the text: a fork has read something of the text that its snapshot came from. */
  async #keptText(start, end) {
    const text = (from) => this.app.client.getText(this.id, { start: from, end });
    return text(start).catch((error) => {
      const keptFrom = error.fields?.["text-start"];
      if (keptFrom > start && keptFrom < end) return text(keptFrom);
      throw error;
    });
  }

  async #showUnfinished() {
    const known = JSON.parse(localStorage.getItem(uploadOf(this.id)) ?? "null");
    byId("unfinished").hidden = true;
    if (!known || this.#sending.has(this.id)) return;
    const document = await this.app.client.getDocument(this.id, known.documentId).catch(() => null);
    if (!document || document.complete) {
      localStorage.removeItem(uploadOf(this.id));
      return;
    }
    byId("unfinished-text").textContent =
      `${known.name} was sent up to ${size(document.offset)} of ${size(known.size)}. Choose it again, and it goes on there.`;
    byId("unfinished").hidden = false;
  }

  #resume(input) {
    const [file] = input.files;
    input.value = "";
    const known = JSON.parse(localStorage.getItem(uploadOf(this.id)) ?? "null");
    if (!file || !known) return;
    if (file.size !== known.size) {
      this.app.said(`${file.name} has ${size(file.size)}; ${known.name} had ${size(known.size)}.`);
      return;
    }
    byId("unfinished").hidden = true;
    this.send(this.id, file, known.name, known.documentId);
  }

  async #endUpload() {
    const known = JSON.parse(localStorage.getItem(uploadOf(this.id)) ?? "null");
    if (known) await this.app.client.cancelDocument(this.id, known.documentId);
    await this.#showUnfinished();
  }

  #sendMore(input) {
    const [file] = input.files;
    input.value = "";
    if (file) this.send(this.id, file, file.name);
  }

  async #delete() {
    if (!confirm("Delete this session, its text and its memory? Snapshots that you kept stay.")) return;
    const { id } = this;
    this.leave();
    await this.app.client.deleteSession(id);
    localStorage.removeItem(uploadOf(id));
    this.app.go("");
  }
}

/** Where this browser remembers an upload that is under way. @param {string} sessionId */
function uploadOf(sessionId) {
  return `rmt-upload:${sessionId}`;
}
