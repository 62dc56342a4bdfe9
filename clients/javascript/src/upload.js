import { ConnectionLostError, ProblemError, ProtocolError, RmtError, SourceError } from "./errors.js";
import { newKey } from "./http.js";

/** @typedef {import("./wire.js").components["schemas"]["DocumentBody"]} Document */

const OCTETS = "application/partial-upload";

/**
 * A document's way into a session: exactly once, whatever happens to the connection
 * (draft-ietf-httpbis-resumable-upload).
 *
 * The server's offset is the truth. After everything but a plain success the upload asks for it and goes on from there,
 * so bytes are neither left out nor sent twice.
 */
export class Upload {
  offset = 0;
  complete = false;
  #sent = 0;
  /** @type {number | null} */
  #end = null;

  /**
   * @param {object} parts
   * @param {import("./http.js").Http} parts.http
   * @param {import("./patience.js").Patience} parts.patience
   * @param {string} parts.sessionId
   * @param {ReturnType<typeof import("./source.js").openSource>} parts.source
   * @param {number} parts.chunkBytes Sent in one request at most, less where the server says so.
   * @param {string} [parts.documentId] An upload that broke off; the source is the same one from its beginning.
   * @param {string} [parts.name] What the document is called; empty for no name.
   * @param {(upload: Upload, trouble?: RmtError) => void} parts.tell Hears of every move, and of what went wrong.
   */
  constructor({ http, patience, sessionId, source, chunkBytes, documentId = "", name = "", tell }) {
    this.http = http;
    this.patience = patience;
    this.documents = `/v1/sessions/${encodeURIComponent(sessionId)}/documents`;
    this.source = source;
    this.chunkBytes = chunkBytes;
    this.documentId = documentId;
    this.name = name;
    this.tell = tell;
    /** First byte of the document in its session; known once the upload is open. */
    this.start = 0;
  }

  /** Bytes of the whole document, as far as they are known. */
  get totalBytes() {
    return this.source.length ?? this.#end;
  }

  /** Sends all of it. @returns {Promise<Document>} The document, complete but not necessarily read. */
  async run() {
    await (this.documentId ? this.#resume() : this.#open());
    while (!this.complete) await this.#append(await this.source.read(this.offset, this.chunkBytes));
    return this.#look();
  }

  async #open() {
    /** @type {Record<string, string>} */
    const headers = {
      "Content-Type": "text/plain; charset=utf-8",
      "Upload-Complete": "?0",
      "Idempotency-Key": newKey(),
    };
    if (this.source.length !== null) headers["Upload-Length"] = String(this.source.length);
    const query = { name: this.name || undefined };
    const answer = await this.#persist({ method: "POST", path: this.documents, query, headers });
    this.#begin(answer.json());
    this.#move(answer);
  }

  async #resume() {
    this.#begin(await this.#look());
    const answer = await this.#locate();
    const at = place(answer);
    const length = this.source.length ?? at.offset;
    if (at.offset > length || (at.complete && at.offset < length)) {
      throw new SourceError(
        `The document has ${at.offset} bytes already, and this source has ${length}.`,
        "Give the file that the upload was begun with.",
      );
    }
    this.#sent = at.offset;
    this.#end = at.complete ? at.offset : null;
    this.#move(answer);
  }

  /** @param {Document} document */
  #begin(document) {
    this.documentId = document.id;
    this.start = document.start;
  }

  /** @param {import("./source.js").Piece} piece */
  async #append({ data, last }) {
    this.#sent = Math.max(this.#sent, this.offset + data.length);
    if (last) this.#end = this.offset + data.length;
    const headers = {
      "Content-Type": OCTETS,
      "Upload-Offset": String(this.offset),
      "Upload-Complete": last ? "?1" : "?0",
    };
    try {
      this.#move(await this.http.call({ ...this.#at("PATCH"), headers, body: data }));
    } catch (error) {
      await this.#settle(error);
    }
  }

  /**
   * Draws the consequence of bytes that were not plainly accepted.
   *
   * @param {unknown} error
   */
  async #settle(error) {
    const passes = error instanceof ConnectionLostError || (error instanceof ProblemError && error.isBusy);
    const elsewhere = error instanceof ProblemError && [400, 409].includes(error.status);
    if (!passes && !elsewhere) throw error;
    if (passes || error.slug === "superseded") {
      this.tell(this, error);
      await this.patience.after(passes ? error : new ConnectionLostError(error.message, "", { cause: error }));
    }
    const before = this.offset;
    this.#move(await this.#locate());
    // A refusal of bytes that do belong there is one of what they are.
    if (elsewhere && error.slug !== "superseded" && this.offset === before && !this.complete) throw error;
  }

  #locate() {
    return this.#persist(this.#at("HEAD"));
  }

  async #look() {
    return (await this.#persist(this.#at("GET"))).json();
  }

  /** @param {string} method */
  #at(method) {
    return { method, path: `${this.documents}/${encodeURIComponent(this.documentId)}`, signal: this.patience.signal };
  }

  /** @param {import("./http.js").Request} request */
  #persist(request) {
    return this.patience.persist(() => this.http.call({ ...request, signal: this.patience.signal }));
  }

  /**
   * Believes the server, unless it has what was never sent.
   *
   * @param {import("./http.js").Answer} answer
   */
  #move(answer) {
    const { offset, complete } = place(answer);
    if (offset > this.#sent || (complete && offset !== this.#end)) {
      const detail = `Somebody else writes to document ${this.documentId}: it is at byte ${offset}.`;
      throw new ProblemError(409, { title: "Conflict", detail });
    }
    if (offset > this.offset || complete) this.patience.moved();
    this.offset = offset;
    this.complete = complete;
    const most = /\bmax-append-size=(\d+)/.exec(answer.headers.get("Upload-Limit") ?? "");
    if (most) this.chunkBytes = Math.min(this.chunkBytes, Number(most[1]));
    this.tell(this);
  }
}

/**
 * Where an upload is, as the server sees it.
 *
 * @param {import("./http.js").Answer} answer
 */
function place({ status, headers }) {
  const offset = headers.get("Upload-Offset") ?? "";
  if (!/^\d+$/.test(offset)) {
    throw new ProtocolError(`The server answered ${status} to an upload without its Upload-Offset.`);
  }
  return { offset: Number(offset), complete: headers.get("Upload-Complete") === "?1" };
}
