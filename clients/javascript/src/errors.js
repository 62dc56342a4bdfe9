/**
 * Everything that can go wrong, as one tree: `message` says what happened, `hint` what to do.
 *
 *     RmtError
 *     ├── UsageError          what the caller passed cannot work
 *     ├── SourceError         the document ended early, changed, or cannot be read again
 *     ├── ConnectionLostError no connection, or one that was cut or fell silent
 *     ├── GaveUpError         tried again for as long as was allowed; `cause` is the last failure
 *     ├── ProtocolError       an answer that no rmt-server gives
 *     └── ProblemError        the server said no, and why (RFC 9457)
 */
export class RmtError extends Error {
  /**
   * @param {string} message What happened.
   * @param {string} [hint] What to do about it.
   * @param {ErrorOptions} [options]
   */
  constructor(message, hint = "", options) {
    super(message, options);
    this.name = new.target.name;
    this.hint = hint;
  }
}

export class UsageError extends RmtError {}

export class SourceError extends RmtError {}

export class ConnectionLostError extends RmtError {}

export class GaveUpError extends RmtError {}

export class ProtocolError extends RmtError {}

/** A refusal by the server. */
export class ProblemError extends RmtError {
  /**
   * @param {number} status HTTP status.
   * @param {Record<string, unknown>} fields The problem document; empty where somebody else refused.
   * @param {{requestId?: string, retryAfterS?: number | null}} [about] What its headers say.
   */
  constructor(status, fields, { requestId = "", retryAfterS = null } = {}) {
    const title = String(fields.title ?? `HTTP ${status}`);
    super(String(fields.detail ?? title), retryAfterS ? `Try again in ${retryAfterS} s.` : "");
    /** HTTP status; of an error inside an event stream, the one that it would have had. */
    this.status = status;
    /** The whole problem document. */
    this.fields = fields;
    this.title = title;
    /** The last word of the problem's type, such as `session-not-found`; empty without one. */
    this.slug = String(fields.type ?? "").split(/[:#]/).pop() ?? "";
    /** Names the request in the server's log. */
    this.requestId = requestId || String(fields.request_id ?? "");
    /** How long the server asks to wait, in seconds; null where it does not say. */
    this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may succeed later. */
  get isBusy() {
    return [429, 502, 503, 504].includes(this.status);
  }
}
