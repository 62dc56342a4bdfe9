import { byId, element, percent } from "./words.js";

/** Questions, and answers as they come. */
export class Answers {
  /**
   * @param {any} app
   * @param {any} page The session's.
   */
  constructor(app, page) {
    this.app = app;
    this.page = page;
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      const question = byId("question").value.trim();
      if (!question) return;
      byId("question").value = "";
      this.ask(question);
    });
  }

  /** Forgets what was asked of another session. */
  clear() {
    byId("answers").replaceChildren();
  }

  /** @param {string} question */
  ask(question) {
    this.app.attempt(() => this.#ask(question, byId("mode").value));
  }

  async #ask(question, mode) {
    const { id, signal } = this.page;
    const [said, sure] = [element("p", { className: "said" }, "…"), element("p", { className: "sure quiet" })];
    const entry = element("li", {}, element("p", { className: "asked" }, question), said, sure);
    entry.setAttribute("aria-busy", "true"); // it is told when it is whole
    byId("answers").prepend(entry);
    let words = "";
    try {
      for await (const piece of this.app.client.streamAnswer(id, question, { mode, signal })) {
        if (typeof piece === "string") said.textContent = words += piece;
        else this.#show(piece, said, sure);
      }
    } catch (error) {
      entry.remove();
      if (!signal.aborted) byId("question").value ||= question;
      throw error;
    }
    entry.setAttribute("aria-busy", "false");
  }

  #show(answer, said, sure) {
    said.textContent = answer.answer ?? "The document does not seem to say.";
    const meter = element("meter", { min: 0, max: 1, value: answer.confidence });
    meter.setAttribute("aria-label", "confidence");
    const how = answer.mode === "reread" ? "reread" : "from memory";
    const guess = answer.answer === null && answer.guess ? `; its best guess: ${answer.guess}` : "";
    sure.replaceChildren(meter, `${percent(answer.confidence)} sure, ${how}${guess}`);
    if (answer.answer === null) return;
    const where = element("button", { type: "button" }, "Show where");
    where.addEventListener("click", () => this.app.attempt(() => this.#trace(answer, where)));
    sure.append(where);
  }

  async #trace(answer, button) {
    if (button.ariaDisabled === "true") return;
    const { id, signal } = this.page;
    button.ariaDisabled = "true"; // and not `disabled`, which would take the focus away
    button.textContent = "Looking…";
    let found = "Show where";
    try {
      const trace = await this.app.client.trace(id, answer.question, { answer: answer.answer, signal });
      if (trace.bytes === null) {
        found = "No place in the text was found";
        return;
      }
      if (!trace.verified) found = "Show where (not verified)";
      await this.page.showTrace(trace);
    } finally {
      button.textContent = found;
      button.ariaDisabled = "false";
    }
  }
}
