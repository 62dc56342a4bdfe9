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
    const [said, sure] = [element("p", { className: "said" }, "…"), element("p", { className: "sure quiet" })];
    const entry = element("li", {}, element("p", { className: "asked" }, question), said, sure);
    byId("answers").prepend(entry);
    let words = "";
    try {
      for await (const piece of this.app.client.streamAnswer(this.page.id, question, { mode })) {
        if (typeof piece === "string") said.textContent = words += piece;
        else this.#show(piece, said, sure);
      }
    } catch (error) {
      entry.remove();
      byId("question").value ||= question;
      throw error;
    }
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
    button.disabled = true;
    button.textContent = "Looking…";
    try {
      const trace = await this.app.client.trace(this.page.id, answer.question, { answer: answer.answer });
      if (trace.bytes === null) {
        button.replaceWith("no place in the text was found");
        return;
      }
      button.textContent = trace.verified ? "Show where" : "Show where (not verified)";
      await this.page.showTrace(trace);
    } finally {
      button.disabled = false;
      if (button.textContent === "Looking…") button.textContent = "Show where";
    }
  }
}
