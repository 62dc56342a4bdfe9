import { ConnectionLostError, ProblemError, ProtocolError, UsageError } from "./errors.js";

/**
 * @typedef {object} Request
 * @property {string} method
 * @property {string} path
 * @property {Record<string, string | number | null | undefined | false>} [query] What is false or nothing is left out.
 * @property {Record<string, string>} [headers]
 * @property {unknown} [json]
 * @property {Uint8Array<ArrayBuffer> | Blob} [body]
 * @property {boolean} [patient] The server answers when it is done: no silence is too long.
 * @property {AbortSignal} [signal]
 */

/** One HTTP exchange, and what a refusal means. */
export class Http {
  /**
   * @param {string} url Where the server is.
   * @param {string | undefined} apiKey
   * @param {number} silenceS After so long without a byte a connection counts as lost.
   */
  constructor(url, apiKey, silenceS) {
    let base;
    try {
      base = new URL(url);
    } catch {
      throw new UsageError(`"${url}" is not a URL.`, "A URL looks like http://127.0.0.1:8080.");
    }
    if (!/^https?:$/.test(base.protocol)) {
      throw new UsageError(`"${url}" is not an http or https URL.`, "A URL looks like http://127.0.0.1:8080.");
    }
    if (apiKey && !/^[\x21-\x7e]+$/.test(apiKey)) {
      throw new UsageError("The API key has characters that no key has.", "Look for a space or a line break in it.");
    }
    this.url = base.href.replace(/\/+$/, "");
    this.apiKey = apiKey;
    this.silenceS = silenceS;
  }

  /**
   * Sends a request; throws what a status of 400 or above stands for.
   *
   * @param {Request} request
   */
  async call(request) {
    const silence = new Silence(request.patient ? null : this.silenceS, request.signal);
    try {
      const response = await this.#fetch(request, silence);
      const answer = new Answer(response, new Uint8Array(await silence.bounds(response.arrayBuffer())));
      if (response.status >= 400) throw answer.problem();
      return answer;
    } catch (error) {
      throw this.#said(error, request.signal);
    } finally {
      silence.end();
    }
  }

  /**
   * Sends a request that is answered with server-sent events, and gives each event.
   *
   * @param {Request} request
   * @param {() => void} [isThere] Is told when a comment says that the server is there, and has nothing to tell.
   * @returns {AsyncGenerator<{id: string, kind: string, data: any}, void, undefined>}
   */
  async *events(request, isThere = () => {}) {
    const silence = new Silence(this.silenceS, request.signal);
    try {
      const headers = { Accept: "text/event-stream", ...request.headers };
      const response = await this.#fetch({ ...request, headers }, silence);
      if (response.status !== 200 || !response.body) {
        const answer = new Answer(response, new Uint8Array(await silence.bounds(response.arrayBuffer())));
        throw response.status >= 400 ? answer.problem() : new ProtocolError(`The server answered ${response.status}.`);
      }
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await silence.bounds(reader.read());
        if (done) return;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          const event = eventIn(block);
          if (event) yield event;
          else if (block.startsWith(":")) isThere();
        }
      }
    } catch (error) {
      throw this.#said(error, request.signal);
    } finally {
      silence.end(); // a reader that leaves the loop ends the server's work
    }
  }

  /**
   * @param {Request} request
   * @param {Silence} silence
   */
  async #fetch({ method, path, query = {}, headers = {}, json, body }, silence) {
    const url = new URL(this.url + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== false) url.searchParams.set(name, String(value));
    }
    const all = new Headers({ Accept: "application/json", ...headers });
    if (this.apiKey) all.set("Authorization", `Bearer ${this.apiKey}`);
    if (json !== undefined) all.set("Content-Type", "application/json");
    const content = json === undefined ? body : JSON.stringify(json);
    return silence.bounds(fetch(url, { method, headers: all, body: content, signal: silence.signal, cache: "no-store" }));
  }

  /**
   * @param {unknown} error
   * @param {AbortSignal | undefined} signal
   */
  #said(error, signal) {
    if (signal?.aborted) return signal.reason;
    // What fetch throws without a connection, and what the end of a connection throws in a stream.
    if (!(error instanceof TypeError || error instanceof DOMException)) return error;
    const silent = error instanceof DOMException && error.name === "TimeoutError";
    const what = silent ? `The server at ${this.url} fell silent.` : `No connection to ${this.url}, or it was cut.`;
    return new ConnectionLostError(what, "Look whether the server still runs, then try again.", { cause: error });
  }
}

/** Ends an exchange in which nothing has come for too long, or that its caller has left. */
class Silence {
  #controller = new AbortController();

  /**
   * @param {number | null} seconds
   * @param {AbortSignal} [left] The caller's.
   */
  constructor(seconds, left) {
    this.seconds = seconds;
    this.signal = left ? AbortSignal.any([this.#controller.signal, left]) : this.#controller.signal;
  }

  /**
   * @template T
   * @param {Promise<T>} step What something must come of in time.
   */
  async bounds(step) {
    if (this.seconds === null) return step;
    const late = () => this.#controller.abort(new DOMException("nothing came", "TimeoutError"));
    const timer = setTimeout(late, 1000 * this.seconds);
    try {
      return await step;
    } finally {
      clearTimeout(timer);
    }
  }

  end() {
    this.#controller.abort();
  }
}

/** What came back. */
export class Answer {
  /**
   * @param {Response} response
   * @param {Uint8Array<ArrayBuffer>} content
   */
  constructor({ status, headers }, content) {
    this.status = status;
    this.headers = headers;
    this.content = content;
  }

  /** The body as JSON. @returns {any} */
  json() {
    try {
      return JSON.parse(new TextDecoder().decode(this.content));
    } catch (error) {
      throw new ProtocolError(
        `The server answered ${this.status} with a body that is not JSON.`,
        "Check that the URL names an rmt-server.",
        { cause: error },
      );
    }
  }

  /** The error that a refusal stands for, whoever on the way wrote it. */
  problem() {
    /** @type {Record<string, unknown>} */
    let fields = {};
    try {
      fields = { ...this.json() };
    } catch {
      // a proxy's page, or nothing after a HEAD: the status has to do
    }
    const asked = Number.parseInt(this.headers.get("Retry-After") ?? "", 10);
    return new ProblemError(this.status, fields, {
      requestId: this.headers.get("X-Request-Id") ?? "",
      retryAfterS: Number.isFinite(asked) ? asked : null,
    });
  }
}

/**
 * @param {string} block The lines of one event.
 * @returns {{id: string, kind: string, data: any} | null} Null for a comment.
 */
function eventIn(block) {
  /** @type {Record<string, string>} */
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  if (!("data" in fields)) return null;
  try {
    return { id: fields.id ?? "", kind: fields.event ?? "message", data: JSON.parse(fields.data) };
  } catch (error) {
    throw new ProtocolError("The server sent an event that is not JSON.", "", { cause: error });
  }
}

/** A new `Idempotency-Key`. A page that comes over plain http has no `crypto.randomUUID`. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
