import { ConnectionLostError, ProblemError, UsageError } from "./errors.js";
import { Http, newKey } from "./http.js";
import { Patience } from "./patience.js";
import { nameOf, openSource } from "./source.js";
import { Upload } from "./upload.js";

/**
 * @typedef {import("./wire.js").components["schemas"]} Wire
 * @typedef {Wire["SessionBody"]} Session
 * @typedef {Wire["DocumentBody"]} Document
 * @typedef {Wire["SnapshotBody"]} Snapshot
 * @typedef {Wire["AnswerBody"]} Answer
 * @typedef {Wire["AnswersBody"]} Answers
 * @typedef {Wire["CitationBody"]} Citation A sentence that holds an answer.
 * @typedef {Wire["SearchBody"]} Found
 * @typedef {Omit<Partial<Wire["SearchRequest"]>, "query">} SearchOptions Fields as on the wire.
 * @typedef {Wire["TraceBody"]} Trace
 * @typedef {Wire["TimelinePointBody"]} TimelinePoint
 * @typedef {Wire["MovementsBody"]} Movements
 * @typedef {Partial<Wire["SessionRequest"]>} SessionOptions Fields as on the wire, such as `focus` and `metadata`.
 * @typedef {Omit<Partial<Wire["AnswerRequest"]>, "question" | "questions" | "stream">} AskOptions Fields as on the wire.
 * @typedef {AskOptions & {onCitations?: (citations: Citation[]) => void, signal?: AbortSignal}} StreamOptions
 *   `onCitations`: called with the sentences that hold the answer, before the `Answer`, which has them too.
 * @typedef {{limit?: number, after?: string}} PageOptions
 * @typedef {{id: string, kind: string, data: any}} Event
 *
 * @typedef {object} Progress How far a document is.
 * @property {number} sentBytes Of the document, acknowledged.
 * @property {number | null} totalBytes Of the document; null while a stream goes on.
 * @property {number} readBytes Of the document, in the memory.
 * @property {number} tokens Of the whole session.
 * @property {string} trouble What went wrong just now and is tried again; empty else.
 * @property {string} documentId To go on with after a failure.
 *
 * @typedef {object} ReadOptions
 * @property {string} [name] What the document is called, which citations show. Default: the name of a `File`.
 * @property {boolean} [wait] Whether to return only when all of it is read. Default true.
 * @property {string} [documentId] An upload that broke off; the source is the same document from its beginning.
 * @property {(progress: Progress) => void} [onProgress] Called at every move.
 * @property {AbortSignal} [signal]
 */

const FIRST_LOOK_S = 0.05;
const LAST_LOOK_S = 1;

/**
 * Speaks with an rmt-server, in a browser or in Node.
 *
 * Every method rejects with an `RmtError` when it cannot do what it says. Reading and asking are tried again after
 * failures that may pass; other calls are made once. Options that go over the wire have the names of the HTTP API.
 */
export class Client {
  /** @type {Http} */
  #http;
  /** @type {Required<import("./patience.js").Retry>} */
  #retry;

  /**
   * @param {object} [settings]
   * @param {string} [settings.url] Where the server is; in a page by default where the page is from.
   * @param {string} [settings.apiKey] Your key, where the server asks for one.
   * @param {import("./patience.js").Retry} [settings.retry]
   * @param {number} [settings.chunkBytes] The most that is sent in one request, less where the server says so.
   */
  constructor({ url, apiKey, retry = {}, chunkBytes = 1 << 20 } = {}) {
    this.#retry = { giveUpS: 300, firstPauseS: 0.2, longestPauseS: 10, silenceS: 60, ...retry };
    this.#http = new Http(url ?? globalThis.location?.origin ?? "http://127.0.0.1:8080", apiKey, this.#retry.silenceS);
    this.chunkBytes = chunkBytes;
  }

  /** Where the server is. */
  get url() {
    return this.#http.url;
  }

  /** Asks whether the server takes work. @returns {Promise<{ready: boolean, status: string}>} */
  async status() {
    try {
      const answer = await this.#http.call({ method: "GET", path: "/readyz" });
      return { ready: true, status: answer.json().status };
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 503) throw error;
      return { ready: false, status: String(error.fields.detail ?? error.fields.status ?? error.title) };
    }
  }

  /**
   * Starts a session.
   *
   * @param {SessionOptions} [options]
   * @returns {Promise<Session>}
   */
  createSession(options = {}) {
    const headers = { "Idempotency-Key": newKey() };
    return this.#json({ method: "POST", path: "/v1/sessions", headers, json: options });
  }

  /** Starts a new session from a snapshot. @param {string} snapshotId */
  fork(snapshotId) {
    return this.createSession({ from_snapshot: snapshotId });
  }

  /**
   * Lists sessions, a page at a time, the newest first.
   *
   * @param {PageOptions & {signal?: AbortSignal}} [page]
   * @returns {Promise<{sessions: Session[], next: string | null}>}
   */
  listSessions({ signal, ...page } = {}) {
    return this.#json({ method: "GET", path: "/v1/sessions", query: page, signal });
  }

  /**
   * Looks at a session.
   *
   * @param {string} sessionId
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Session>}
   */
  getSession(sessionId, { signal } = {}) {
    return this.#json({ method: "GET", path: session(sessionId), signal });
  }

  /**
   * Changes metadata or lifetime; with `revision`, a 412 if the session has moved on.
   *
   * @param {string} sessionId
   * @param {{metadata?: Record<string, string>, ttl_s?: number}} changes
   * @param {{revision?: number}} [only]
   * @returns {Promise<Session>}
   */
  updateSession(sessionId, changes, { revision } = {}) {
    /** @type {Record<string, string>} */
    const headers = revision === undefined ? {} : { "If-Match": `"${revision}"` };
    return this.#json({ method: "PATCH", path: session(sessionId), headers, json: changes });
  }

  /** Deletes a session and all that it knows. @param {string} sessionId */
  async deleteSession(sessionId) {
    await this.#http.call({ method: "DELETE", path: session(sessionId) });
  }

  /**
   * Sends a document into a session, exactly once through any cut connection.
   *
   * @param {string} sessionId The session that reads it, after all that it was sent before.
   * @param {import("./source.js").Source} source
   * @param {ReadOptions} [options]
   * @returns {Promise<Document>}
   */
  async read(sessionId, source, { name = nameOf(source), wait = true, documentId, onProgress = () => {}, signal } = {}) {
    const opened = openSource(source);
    const patience = new Patience(this.#retry, signal);
    let readBytes = 0;
    let tokens = 0;
    /** @param {Upload} at @param {string} [trouble] */
    const tell = (at, trouble = "") => {
      const known = { sentBytes: at.offset, totalBytes: at.totalBytes, documentId: at.documentId };
      onProgress({ ...known, readBytes, tokens, trouble });
    };
    const upload = new Upload({
      http: this.#http,
      patience,
      sessionId,
      source: opened,
      chunkBytes: this.chunkBytes,
      documentId,
      name,
      tell: (at, trouble) => tell(at, trouble?.message),
    });
    try {
      const document = await upload.run();
      if (!wait) return document;
      await this.#untilRead(sessionId, patience, upload.start + upload.offset, (known) => {
        readBytes = Math.min(Math.max(known.read_bytes - upload.start, 0), upload.offset);
        tokens = known.tokens;
        tell(upload);
      });
      return await patience.persist(() => this.getDocument(sessionId, document.id));
    } finally {
      await opened.close();
    }
  }

  /** Looks at a document. @param {string} sessionId @param {string} documentId @returns {Promise<Document>} */
  getDocument(sessionId, documentId) {
    return this.#json({ method: "GET", path: session(sessionId, "documents", documentId) });
  }

  /** Ends an upload; what was accepted stays accepted. @param {string} sessionId @param {string} documentId */
  async cancelDocument(sessionId, documentId) {
    await this.#http.call({ method: "DELETE", path: session(sessionId, "documents", documentId) });
  }

  /**
   * Waits until all that the session has accepted by now is read.
   *
   * @param {string} sessionId
   * @param {{onProgress?: (session: Session) => void, signal?: AbortSignal}} [options]
   * @returns {Promise<Session>}
   */
  waitUntilRead(sessionId, { onProgress = () => {}, signal } = {}) {
    return this.#untilRead(sessionId, new Patience(this.#retry, signal), null, onProgress);
  }

  /**
   * Asks one question; see `askMany`.
   *
   * @param {string} sessionId
   * @param {string} question
   * @param {AskOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<Answer>}
   */
  async ask(sessionId, question, options = {}) {
    return (await this.askMany(sessionId, [question], options)).answers[0];
  }

  /**
   * Asks several questions of one position; asking never changes the memory.
   *
   * @param {string} sessionId
   * @param {string[]} questions
   * @param {AskOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<Answers>}
   */
  async askMany(sessionId, questions, { signal, ...options } = {}) {
    if (!Array.isArray(questions) || questions.length === 0) {
      throw new UsageError("Questions are a list with at least one text.");
    }
    const request = { method: "POST", path: session(sessionId, "answers"), json: { questions, ...options } };
    const patience = new Patience(this.#retry, signal);
    return patience.persist(() => this.#json({ ...request, patient: true, signal }));
  }

  /**
   * Asks one question, and gives the words of the answer as they come, then the `Answer` with its citations.
   *
   * A connection that is cut is not tried again: what was heard would come twice. Leaving the loop ends the work.
   *
   * @param {string} sessionId
   * @param {string} question
   * @param {StreamOptions} [options]
   * @returns {AsyncGenerator<string | Answer, void, undefined>}
   */
  async *streamAnswer(sessionId, question, { onCitations = () => {}, signal, ...options } = {}) {
    const json = { question, stream: true, ...options };
    for await (const event of this.#http.events({ method: "POST", path: session(sessionId, "answers"), json, signal })) {
      if (event.kind === "error") throw problemOf(event.data);
      if (event.kind === "delta") yield event.data.text;
      if (event.kind === "citations") onCitations(event.data.citations);
      if (event.kind === "result") {
        yield event.data.body.answers[0];
        return;
      }
    }
    throw new ConnectionLostError("The connection was cut in the middle of the answer.");
  }

  /**
   * Finds the passages of a session's text that match a query best, in all that was accepted.
   *
   * @param {string} sessionId
   * @param {string} query Words in any language; there is no syntax.
   * @param {SearchOptions & {signal?: AbortSignal}} [options]
   * @returns {Promise<Found>}
   */
  search(sessionId, query, { signal, ...options } = {}) {
    const json = { query, ...options };
    return this.#json({ method: "POST", path: session(sessionId, "search"), json, patient: true, signal });
  }

  /**
   * Finds the part of a session's text that an answer came from; without an answer, the one that it gives.
   *
   * @param {string} sessionId
   * @param {string} question
   * @param {{answer?: string, signal?: AbortSignal}} [options]
   * @returns {Promise<Trace>}
   */
  trace(sessionId, question, { answer, signal } = {}) {
    const json = { question, answer };
    return this.#json({ method: "POST", path: session(sessionId, "traces"), json, patient: true, signal });
  }

  /**
   * Looks at the memories that are kept along a session's text, and what each answers to a question.
   *
   * @param {string} sessionId
   * @param {{question?: string, lane?: number, vectors?: boolean, signal?: AbortSignal}} [options] `vectors`: tell of
   *   each memory vector how far it moved.
   * @returns {Promise<TimelinePoint[]>}
   */
  async timeline(sessionId, { question, lane, vectors, signal } = {}) {
    const query = { question, lane, vectors: vectors && "true" };
    const request = { method: "GET", path: session(sessionId, "timeline"), query };
    return (await this.#json({ ...request, patient: true, signal })).points;
  }

  /**
   * Tells how far each vector of a lane's memory moved at each segment; in a long text, at a few together.
   *
   * @param {string} sessionId
   * @param {{lane?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<Movements>}
   */
  movements(sessionId, { lane, signal } = {}) {
    return this.#json({ method: "GET", path: session(sessionId, "movements"), query: { lane }, signal });
  }

  /**
   * Gives a part of a session's kept text, whole characters of it: 64 KiB at most.
   *
   * @param {string} sessionId
   * @param {{start?: number, end?: number, signal?: AbortSignal}} [options] Bytes of the session.
   * @returns {Promise<{start: number, end: number, text: string}>}
   */
  getText(sessionId, { start, end, signal } = {}) {
    return this.#json({ method: "GET", path: session(sessionId, "text"), query: { start, end }, signal });
  }

  /**
   * Follows a session: every event once, over cut connections and other processes, until you leave the loop.
   *
   * @param {string} sessionId
   * @param {{after?: string, signal?: AbortSignal}} [options] `after`: the id of the last event that you know ("0-0":
   *   all that are kept); else it begins with how the session stands.
   * @returns {AsyncGenerator<Event, void, undefined>}
   */
  async *events(sessionId, { after, signal } = {}) {
    const patience = new Patience(this.#retry, signal);
    for (;;) {
      try {
        const query = { after };
        const request = { method: "GET", path: session(sessionId, "events"), query, signal };
        for await (const event of this.#http.events(request, () => patience.moved())) {
          if (event.id) after = event.id;
          if (event.kind === "error" && !("document-id" in event.data)) throw problemOf(event.data);
          patience.moved();
          yield event;
        }
        throw new ConnectionLostError("The server ended the event stream.");
      } catch (error) {
        await patience.after(error);
      }
    }
  }

  /**
   * Keeps the memory of a session as it is now.
   *
   * @param {string} sessionId
   * @param {Partial<Wire["SnapshotRequest"]>} [options]
   * @returns {Promise<Snapshot>}
   */
  createSnapshot(sessionId, options = {}) {
    const path = session(sessionId, "snapshots");
    return this.#json({ method: "POST", path, json: options, patient: true });
  }

  /**
   * Lists the snapshots of a session, or all, a page at a time, the newest first.
   *
   * @param {string | null} [sessionId]
   * @param {PageOptions & {signal?: AbortSignal}} [page]
   * @returns {Promise<{snapshots: Snapshot[], next: string | null}>}
   */
  listSnapshots(sessionId = null, { signal, ...page } = {}) {
    const path = sessionId === null ? "/v1/snapshots" : session(sessionId, "snapshots");
    return this.#json({ method: "GET", path, query: page, signal });
  }

  /** Looks at a snapshot. @param {string} snapshotId @returns {Promise<Snapshot>} */
  getSnapshot(snapshotId) {
    return this.#json({ method: "GET", path: snapshot(snapshotId) });
  }

  /** Deletes a snapshot. @param {string} snapshotId */
  async deleteSnapshot(snapshotId) {
    await this.#http.call({ method: "DELETE", path: snapshot(snapshotId) });
  }

  /** Downloads a snapshot as a safetensors file. @param {string} snapshotId */
  async exportSnapshot(snapshotId) {
    const headers = { Accept: "application/vnd.safetensors" };
    return (await this.#http.call({ method: "GET", path: `${snapshot(snapshotId)}/content`, headers })).content;
  }

  /**
   * Uploads a snapshot that was exported, from this server or another.
   *
   * @param {Uint8Array<ArrayBuffer> | Blob} content
   * @param {{name?: string}} [options]
   * @returns {Promise<Snapshot>}
   */
  importSnapshot(content, { name } = {}) {
    const headers = { "Content-Type": "application/vnd.safetensors" };
    return this.#json({ method: "POST", path: "/v1/snapshots", query: { name }, headers, body: content });
  }

  /**
   * Puts the memory of a session back to a snapshot.
   *
   * @param {string} sessionId
   * @param {string} snapshotId
   * @returns {Promise<Session>}
   */
  restore(sessionId, snapshotId) {
    return this.#json({ method: "POST", path: session(sessionId, "restore"), json: { snapshot: snapshotId } });
  }

  /** @param {import("./http.js").Request} request @returns {Promise<any>} */
  async #json(request) {
    return (await this.#http.call(request)).json();
  }

  /**
   * @param {string} sessionId
   * @param {Patience} patience
   * @param {number | null} endBytes Null: all that is accepted as this begins.
   * @param {(session: Session) => void} see
   */
  async #untilRead(sessionId, patience, endBytes, see) {
    let before = -1;
    for (let lookS = FIRST_LOOK_S; ; lookS = Math.min(LAST_LOOK_S, 1.5 * lookS)) {
      const known = await patience.persist(() => this.getSession(sessionId));
      if (known.read_bytes !== before) patience.moved();
      before = known.read_bytes;
      endBytes ??= known.accepted_bytes;
      see(known);
      if (known.read_bytes > endBytes || (known.read_bytes === endBytes && known.status === "idle")) return known;
      await patience.rest(lookS);
    }
  }
}

/** @param {string[]} parts */
function session(...parts) {
  return `/v1/sessions/${parts.map(encodeURIComponent).join("/")}`;
}

/** @param {string} snapshotId */
function snapshot(snapshotId) {
  return `/v1/snapshots/${encodeURIComponent(snapshotId)}`;
}

/** @param {Record<string, unknown>} data A problem inside an event stream. */
function problemOf(data) {
  return new ProblemError(Number(data.status ?? 500), data);
}
