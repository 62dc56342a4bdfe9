import { ConnectionLostError, GaveUpError, ProblemError } from "./errors.js";

/**
 * @typedef {object} Retry When to try again what is safe to repeat.
 * @property {number} [giveUpS] Give up after so long with nothing but failures. Default 300.
 * @property {number} [firstPauseS] Default 0.2; each pause is twice the one before.
 * @property {number} [longestPauseS] Default 10.
 * @property {number} [silenceS] A connection that brings nothing for so long is lost. Default 60.
 */

/** What one operation has left of it: jittered pauses that grow, until nothing but failures came for too long. */
export class Patience {
  #failingSince = 0;
  #tries = 0;

  /**
   * @param {Required<Retry>} retry
   * @param {AbortSignal} [signal] Ends a pause, too.
   */
  constructor(retry, signal) {
    this.retry = retry;
    this.signal = signal;
  }

  /** The operation got somewhere: the series of failures is over. */
  moved() {
    this.#tries = 0;
  }

  /**
   * Waits before the next try, or throws where none would help.
   *
   * @param {unknown} error
   */
  async after(error) {
    const passes = error instanceof ConnectionLostError || (error instanceof ProblemError && error.isBusy);
    if (!passes) throw error;
    const now = performance.now() / 1000;
    if (this.#tries === 0) this.#failingSince = now;
    const left = this.#failingSince + this.retry.giveUpS - now;
    if (left <= 0) {
      const message = `Gave up after ${this.retry.giveUpS} seconds of trying again: ${error.message}`;
      throw new GaveUpError(message, error.hint, { cause: error });
    }
    const grown = Math.min(this.retry.longestPauseS, this.retry.firstPauseS * 2 ** Math.min(this.#tries, 32));
    this.#tries += 1;
    const asked = (error instanceof ProblemError && error.retryAfterS) || 0;
    await this.rest(Math.min(Math.max(grown * (0.5 + Math.random() / 2), asked), left));
  }

  /**
   * Repeats what is safe to repeat until it is answered for good.
   *
   * @template T
   * @param {() => Promise<T>} send
   */
  async persist(send) {
    for (;;) {
      try {
        return await send();
      } catch (error) {
        await this.after(error);
      }
    }
  }

  /** @param {number} seconds */
  async rest(seconds) {
    this.signal?.throwIfAborted();
    await new Promise((resolve, reject) => {
      const left = () => (clearTimeout(timer), reject(this.signal?.reason));
      const timer = setTimeout(() => (this.signal?.removeEventListener("abort", left), resolve(null)), 1000 * seconds);
      this.signal?.addEventListener("abort", left, { once: true });
    });
  }
}
