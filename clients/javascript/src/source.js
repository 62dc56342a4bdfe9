import { SourceError } from "./errors.js";

/**
 * @typedef {string | ArrayBuffer | Uint8Array | Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array | string>
 *   | Iterable<Uint8Array | string>} Source A document: text, bytes, a `File`, or pieces as they come.
 *
 * @typedef {object} Piece
 * @property {Uint8Array<ArrayBuffer>} data
 * @property {boolean} last No bytes follow these.
 */

const LINGER_MS = 300;
const REPLAY_BYTES = 4 << 20;
const MOST_NAME_CHARS = 200;

/**
 * Makes any source readable: every part of it again, as long as it is not acknowledged for long.
 *
 * @param {Source} source
 * @returns {Bytes | Pieces}
 */
export function openSource(source) {
  if (typeof source === "string") return new Bytes(new Blob([source]));
  if (source instanceof Blob) return new Bytes(source);
  if (source instanceof ArrayBuffer) return new Bytes(new Blob([source]));
  if (source instanceof Uint8Array) return new Bytes(new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (source)]));
  if (source instanceof ReadableStream) return new Pieces(reading(source));
  if (source && (Symbol.asyncIterator in source || Symbol.iterator in source)) return new Pieces(each(source));
  throw new SourceError("A document is text, bytes, a Blob or File, a stream, or an iterable of pieces.");
}

/**
 * The name of a file, shortened to what a server takes; empty for other sources.
 *
 * @param {Source} source
 */
export function nameOf(source) {
  const name = source instanceof Blob && "name" in source ? String(source.name) : "";
  const shown = [...(name.split(/[/\\]/).at(-1) ?? "")].slice(0, MOST_NAME_CHARS).join("").trim();
  return /[^\p{C}\p{Z}]/u.test(shown) ? shown : "";
}

/** What can go back. */
class Bytes {
  /** @param {Blob} blob */
  constructor(blob) {
    this.blob = blob;
    /** @type {number | null} */
    this.length = blob.size;
  }

  /**
   * @param {number} offset
   * @param {number} size
   * @returns {Promise<Piece>}
   */
  async read(offset, size) {
    const end = Math.min(offset + size, this.blob.size);
    try {
      return { data: new Uint8Array(await this.blob.slice(offset, end).arrayBuffer()), last: end === this.blob.size };
    } catch (error) {
      throw new SourceError("The file cannot be read, or was changed while it was sent.", "", { cause: error });
    }
  }

  async close() {}
}

/** What cannot go back: bytes are kept until they are surely elsewhere. */
class Pieces {
  #window = new Uint8Array();
  #start = 0;
  #ended = false;
  /** @type {Promise<void> | null} */
  #pulling = null;

  /** @param {AsyncGenerator<Uint8Array | string>} pieces */
  constructor(pieces) {
    this.pieces = pieces;
    /** @type {number | null} */
    this.length = null;
  }

  /**
   * Takes that everything before `offset` is acknowledged; waits for the first byte behind it, and then a moment for more.
   *
   * @param {number} offset
   * @param {number} size
   * @returns {Promise<Piece>}
   */
  async read(offset, size) {
    this.#forget(offset);
    while (!this.#ended && this.#end <= offset) await this.#pull();
    const linger = new Promise((resolve) => setTimeout(resolve, LINGER_MS, "enough"));
    while (!this.#ended && this.#end < offset + size) {
      if ((await Promise.race([this.#pull(), linger])) === "enough") break;
    }
    if (offset > this.#end) throw new SourceError(`The stream ended at byte ${this.#end}, before byte ${offset}.`);
    const data = this.#window.slice(offset - this.#start, offset - this.#start + size);
    return { data, last: this.#ended && offset + data.length === this.#end };
  }

  async close() {
    await this.pieces.return(undefined);
  }

  get #end() {
    return this.#start + this.#window.length;
  }

  #pull() {
    this.#pulling ??= this.#take().finally(() => {
      this.#pulling = null;
    });
    return this.#pulling;
  }

  async #take() {
    const { done, value } = await this.pieces.next();
    if (done) {
      this.#ended = true;
      return;
    }
    const piece = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const grown = new Uint8Array(this.#window.length + piece.length);
    grown.set(this.#window);
    grown.set(piece, this.#window.length);
    this.#window = grown;
  }

  /** @param {number} offset */
  #forget(offset) {
    if (offset < this.#start) {
      throw new SourceError(
        `The server asks for byte ${offset} again, but only those from ${this.#start} on are kept.`,
        "Send the document again from a file.",
      );
    }
    const surplus = Math.min(offset - REPLAY_BYTES - this.#start, this.#window.length);
    if (surplus > 0) {
      this.#window = this.#window.slice(surplus);
      this.#start += surplus;
    }
  }
}

/** @param {ReadableStream<Uint8Array>} stream */
async function* reading(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}

/** @param {AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>} pieces */
async function* each(pieces) {
  yield* pieces;
}
