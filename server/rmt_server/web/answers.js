import { placeButton, quoteOf } from "./passages.js";
import { byId, count, element, percent, say, sureness } from "./words.js";

const QUOTES = 3;
const TRACE = "Trace in its memory";
const NOT_SUPPORTED =
  "Ask who, what, when, where, which, how many, or why: such answers stand at a place of the text. " +
  "Summaries, lists, translations and opinions do not.";
const MODES = {
  auto: "The way that answers best: a focus from its memory, other questions looked up in the text.",
  search: "Looks up places of the text that may answer, and reads those. It need not wait until all is read.",
  recall: "Answers from what the memory holds of the text, which of a long one is little.",
  reread: "Reads all of the text once more with the question in mind: slow where it is long.",
};
const WAYS = {
  focus: "from its memory (focus)",
  search: "from the text",
  recall: "from its memory",
  reread: "read once more",
};
const LOOKED = {
  focus: "Asked its memory (focus)",
  search: "Looked up in the text",
  recall: "Asked its memory",
  reread: "Read once more",
};

/** Questions, and answers as they come, with the quotes that they stand in. */
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
    byId("mode").addEventListener("change", () => this.#tellMode());
    this.#tellMode();
  }

  /** Forgets what was asked of another session. */
  clear() {
    byId("answers").replaceChildren();
  }

  /** @param {string} question */
  ask(question) {
    this.app.attempt(() => this.#ask(question, byId("mode").value));
  }

  #tellMode() {
    byId("mode-hint").textContent = MODES[byId("mode").value];
  }

  async #ask(question, mode) {
    const { id, signal } = this.page;
    const [said, rest] = [element("p", { className: "said" }, "…"), element("div", { className: "rest" })];
    const entry = element("li", {}, element("p", { className: "asked" }, question), said, rest);
    entry.setAttribute("aria-busy", "true");
    const waits = mode === "recall" || mode === "reread" || (mode === "auto" && this.page.isFocus(question));
    if (waits && this.page.isReading) {
      rest.append(element("p", { className: "quiet" }, "This waits until the text is read."));
    }
    byId("answers").prepend(entry);
    entry.scrollIntoView({ block: "nearest" }); // a focus is asked from further down
    let words = "";
    try {
      for await (const piece of this.app.client.streamAnswer(id, question, { mode, signal })) {
        if (typeof piece === "string") said.textContent = words += piece;
        else if ("outcome" in piece) this.#show(piece, said, rest);
      }
    } catch (error) {
      entry.remove();
      if (!signal.aborted) byId("question").value ||= question;
      throw error;
    }
    entry.setAttribute("aria-busy", "false");
  }

  #show(answer, said, rest) {
    const places = answer.outcome === "not_supported" ? [] : answer.citations.slice(0, QUOTES);
    const dim = answer.outcome !== "answered";
    said.textContent = saidOf(answer);
    said.classList.toggle("none", dim);
    const how = this.#how(answer, places.length > 0);
    const list = element("ul", { className: dim ? "places dim" : "places" });
    list.setAttribute("aria-label", dim ? "Closest places" : "Quotes");
    list.append(...places.map((one) => element("li", {}, placeButton(this.page, one, quoteOf(one)))));
    rest.replaceChildren(
      ...(how ? [how] : []),
      ...(answer.outcome === "not_supported" ? [element("p", { className: "quiet" }, NOT_SUPPORTED)] : []),
      ...(answer.notice ? [element("p", { className: "notice" }, answer.notice)] : []),
      ...(places.length && dim ? [element("p", { className: "quiet closest" }, "Closest places")] : []),
      ...(places.length ? [list] : []),
    );
    const quotes = `${count(places.length)} ${places.length === 1 ? "place" : "places"} below`;
    say([said.textContent, how?.textContent, answer.notice, places.length ? quotes : ""].filter(Boolean).join(" "));
  }

  /** How sure an answer is, and which way it came. */
  #how(answer, cited) {
    if (answer.outcome === "not_supported") return null;
    const sure = element("p", { className: "sure quiet" });
    if (answer.outcome === "not_found") {
      const guess = answer.guess && !cited ? `: ${answer.guess}` : "";
      const best = `the best guess is ${percent(answer.confidence)} sure${guess}`;
      sure.append(`${LOOKED[answer.mode]}; ${answer.guess ? best : "nothing came close"}`);
      return sure;
    }
    const meter = element("meter", { min: 0, max: 1, value: answer.confidence });
    meter.setAttribute("aria-label", "confidence");
    const checked = { true: "; the first quote alone says so", false: "; the first quote alone does not say so" };
    const how = `${WAYS[answer.mode]}${checked[answer.verified] ?? ""}`;
    sure.append(meter, `${sureness(answer.confidence)} (${percent(answer.confidence)} sure), ${how}`);
    if (answer.lane !== null || !cited) {
      const where = element("button", { type: "button" }, TRACE);
      where.addEventListener("click", () => this.app.attempt(() => this.#trace(answer, where)));
      sure.append(where);
    }
    return sure;
  }

  async #trace(answer, button) {
    if (button.ariaDisabled === "true") return;
    const { id, signal } = this.page;
    button.ariaDisabled = "true"; // and not `disabled`, which would take the focus away
    button.textContent = "Looking…";
    let found = TRACE;
    try {
      const trace = await this.app.client.trace(id, answer.question, { answer: answer.answer, signal });
      if (trace.bytes === null) {
        found = "No place in the text was found";
        return;
      }
      if (!trace.verified) found = `${TRACE} (not verified)`;
      await this.page.showTrace(trace);
    } finally {
      button.textContent = found;
      button.ariaDisabled = "false";
    }
  }
}

function saidOf(answer) {
  if (answer.outcome === "not_supported") return "No place of a text can answer this.";
  return answer.answer ?? "I did not find this.";
}
