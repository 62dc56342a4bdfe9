import { Answers } from "./answers.js";
import { Finding } from "./finding.js";
import { MemoryPicture } from "./picture.js";
import { Reader } from "./reader.js";
import { Snapshots } from "./snapshots.js";
import { byId, count, element, inWords, size } from "./words.js";

const SPEED_S = 5;
const REDRAW_MS = 700;
/** As much as the server gives at once. */
const SHOWN_BYTES = 64 * 1024;

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
  /** How often a place was chosen. */
  #chosen = 0;

  /** @param {any} app */
  constructor(app) {
    this.app = app;
    this.picture = new MemoryPicture(byId("picture"), (start, stop) => app.attempt(() => this.#showText(start, stop)));
    this.reader = new Reader(app, this);
    this.answers = new Answers(app, this);
    this.finding = new Finding(app, this);
    this.snapshots = new Snapshots(app, this);
    byId("more-file").addEventListener("change", (event) => this.#sendMore(event.target));
    byId("resume-file").addEventListener("change", (event) => this.#resume(event.target));
    byId("end-upload").addEventListener("click", () => app.attempt(() => this.#endUpload(this.id)));
    byId("delete-session").addEventListener("click", () => app.attempt(() => this.#delete()));
  }

  /** The id of the session that is shown. */
  get id() {
    return this.#session?.id ?? "";
  }

  /** Ends when another session is shown: what is asked for this one is not shown then. */
  get signal() {
    return this.#leaving.signal;
  }

  /** Bytes of its text that have arrived. */
  get acceptedBytes() {
    return this.#session?.accepted_bytes ?? 0;
  }

  /** Whether some of its text is still to be sent or read. */
  get isReading() {
    return this.#session?.status === "reading" || this.#sending.has(this.id);
  }

  /** Whether a question was given before reading. @param {string} question */
  isFocus(question) {
    const bare = (words) => words.trim().toLowerCase().replace(/\s+/g, " ");
    return this.#session?.focus.some((one) => bare(one) === bare(question)) ?? false;
  }

  /** Shows no session. */
  leave() {
    this.#leaving.abort();
    this.#leaving = new AbortController();
    this.#session = null;
    clearTimeout(this.#redraw);
    byId("session").hidden = true;
    byId("place").hidden = true;
    byId("took-nothing").hidden = true;
    byId("unfinished").hidden = true;
    this.picture.clear();
    this.reader.leave(document);
    this.answers.clear();
    this.snapshots.clear();
    document.title = "rmt-server";
  }

  /** @param {string} sessionId */
  async show(sessionId) {
    this.leave();
    const { signal } = this;
    this.#speeds = [];
    this.#lane = 0;
    this.#drawn = 0;
    const session = await this.app.client.getSession(sessionId, { signal });
    this.#session = session;
    byId("title").textContent = session.metadata.title || sessionId;
    document.title = `${byId("title").textContent} · rmt-server`;
    byId("session").hidden = false;
    this.#showLanes();
    this.#showProgress();
    if (document.activeElement === document.body) byId("title").focus(); // what had the focus is hidden now
    this.#follow(signal);
    this.app.attempt(() => this.#showMemory());
    this.app.attempt(() => this.snapshots.show());
    this.app.attempt(() => this.#showUnfinished());
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
          remember(sessionId, { name, size: source.size, documentId: known, pasted: !(source instanceof File) });
          if (sessionId === this.id) this.#showProgress();
        },
      });
      forget(sessionId);
    } catch (error) {
      this.app.said(`${name} was not sent to its end. ${inWords(error)}`);
      if (error.slug === "invalid-utf8") await this.app.attempt(() => this.#endUpload(sessionId)); // nor ever will be
    } finally {
      this.#sending.delete(sessionId);
      removeEventListener("beforeunload", leave);
      if (sessionId === this.id) {
        this.#showProgress(); // the last event may have come before
        await this.app.attempt(() => this.#showUnfinished());
      }
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
        if (event.data.status === "idle") this.app.attempt(() => this.#lookAtMemory());
        else if (event.data.status === "reading") byId("took-nothing").hidden = true;
        this.#showProgress();
        this.#showMemorySoon();
      }
    } catch (error) {
      if (!signal.aborted) this.app.said(inWords(error));
    }
  }

  #showProgress() {
    const { accepted_bytes: accepted, read_bytes: read, tokens, segments } = this.#session;
    const sending = this.#sending.get(this.id);
    const total = Math.max(accepted + (sending ? sending.total - sending.sent : 0), 1);
    const bar = byId("progress");
    bar.max = total;
    bar.value = read;
    const now = performance.now() / 1000;
    this.#speeds = [...this.#speeds.filter((one) => now - one.at < SPEED_S), { at: now, tokens }];
    const { at, tokens: before } = this.#speeds[0];
    const reads = this.isReading;
    byId("reading-hint").hidden = !reads;
    const facts = [
      reads ? `read ${size(read)} of ${size(total)}` : `read: ${size(read)}`,
      `${count(tokens)} tokens in ${count(segments)} segments`,
      reads && now - at > 0.5 && tokens > before ? `${count((tokens - before) / (now - at))} tokens/s` : "",
      `remembered in ${size(this.#session.state_bytes ?? 0)}`,
      sending?.trouble ?? "",
    ];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
    // What changes all the time would drown all else that a screen reader says.
    const told = reads ? "Reading…" : `Read: ${size(read)}`;
    if (byId("told").textContent !== told) byId("told").textContent = told;
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

  /** Says it where the memory took nothing of the text in: its picture would be empty without a word. */
  async #lookAtMemory() {
    const { signal } = this;
    const { memory_took: took, keep_text: kept } = await this.app.client.getSession(this.id, { signal });
    if (signal.aborted) return;
    const words = `The memory took nothing of this text in${kept ? "; search still finds its passages" : ""}.`;
    const said = byId("took-nothing");
    said.textContent = took === "nothing" ? words : "";
    said.hidden = took !== "nothing";
  }

  #showMemorySoon() {
    clearTimeout(this.#redraw);
    const wait = Math.max(0, this.#drawn + REDRAW_MS - performance.now());
    this.#redraw = setTimeout(() => this.app.attempt(() => this.#showMemory()), wait);
  }

  async #showMemory() {
    this.#drawn = performance.now();
    const { signal } = this;
    const asked = ++this.#asked;
    const movements = await this.app.client.movements(this.id, { lane: this.#lane, signal });
    if (asked !== this.#asked || signal.aborted) return; // it was asked for anew meanwhile, perhaps of another lane
    this.picture.show(movements);
    const each = movements.segments_each;
    byId("caption-columns").textContent = `Each column is ${each > 1 ? `${count(each)} segments` : "a segment"} of the text`;
  }

  async #showText(start, stop, excerpt = "") {
    const chosen = ++this.#chosen;
    const { text, start: first, end } = await this.keptText(Math.max(start, stop - SHOWN_BYTES), stop);
    if (chosen !== this.#chosen) return; // another place was chosen meanwhile
    byId("place-title").textContent = `Bytes ${count(first)} to ${count(end)}`;
    const at = excerpt ? text.indexOf(excerpt) : -1;
    byId("place-text").replaceChildren(
      ...(at < 0
        ? [text]
        : [text.slice(0, at), element("mark", {}, excerpt), text.slice(at + excerpt.length)]),
    );
    byId("place").hidden = false;
    (byId("place-text").querySelector("mark") ?? byId("place")).scrollIntoView({ block: "nearest" });
  }

  /** What is kept of a part of the text: a fork has read something of the text that its snapshot came from. */
  async keptText(start, end) {
    const { id, signal } = this;
    const text = (from) => this.app.client.getText(id, { start: from, end, signal });
    return text(start).catch((error) => {
      const keptFrom = error.fields?.["text-start"];
      if (keptFrom > start && keptFrom < end) return text(keptFrom);
      throw error;
    });
  }

  async #showUnfinished() {
    const { id, signal } = this;
    const known = remembered(id);
    byId("unfinished").hidden = true;
    if (!known || this.#sending.has(id)) return;
    const document = await this.app.client.getDocument(id, known.documentId).catch((error) => {
      if (error.status === 404) return null;
      throw error;
    });
    if (!document || document.complete) forget(id);
    else if (!signal.aborted) {
      const how = known.pasted ? "It was pasted: save it as a file and choose that" : "Choose it again";
      byId("unfinished-text").textContent =
        `${known.name} was sent up to ${size(document.offset)} of ${size(known.size)}. ${how}, and it goes on there.`;
      byId("unfinished").hidden = false;
    }
  }

  #resume(input) {
    const [file] = input.files;
    input.value = "";
    const known = remembered(this.id);
    if (!file || !known) return;
    if (file.size !== known.size) {
      this.app.said(`${file.name} has ${size(file.size)}; ${known.name} had ${size(known.size)}.`);
      return;
    }
    byId("unfinished").hidden = true;
    this.send(this.id, file, known.name, known.documentId);
  }

  async #endUpload(sessionId) {
    const known = remembered(sessionId);
    if (known) await this.app.client.cancelDocument(sessionId, known.documentId);
    forget(sessionId);
    if (sessionId === this.id) byId("unfinished").hidden = true;
  }

  #sendMore(input) {
    const [file] = input.files;
    input.value = "";
    if (file && this.#sending.has(this.id)) this.app.said("A document is being sent: the next one can follow when it is done.");
    else if (file) this.send(this.id, file, file.name);
  }

  async #delete() {
    if (!confirm("Delete this session, its text and its memory? Snapshots that you kept stay.")) return;
    const { id } = this;
    await this.app.client.deleteSession(id);
    forget(id);
    this.app.go("");
  }
}

/** Where this browser remembers an upload that is under way. @param {string} sessionId */
function uploadOf(sessionId) {
  return `rmt-upload:${sessionId}`;
}

function remembered(sessionId) {
  return JSON.parse(localStorage.getItem(uploadOf(sessionId)) ?? "null");
}

function remember(sessionId, upload) {
  localStorage.setItem(uploadOf(sessionId), JSON.stringify(upload));
}

function forget(sessionId) {
  localStorage.removeItem(uploadOf(sessionId));
}
