import { Beginning } from "./beginning.js";
import { Client } from "./rmt-client/index.js";
import { SessionPage } from "./session_page.js";
import { byId, element, inWords } from "./words.js";

const KEY = "rmt-api-key";
const HEALTH_MS = 5000;
const LISTED = 100;

/** The page: which session is shown, with which key, and what went wrong. */
class App {
  constructor() {
    this.client = this.#connected();
    this.session = new SessionPage(this);
    this.beginning = new Beginning(this);
    byId("begin-new").addEventListener("click", () => this.go(""));
    byId("enter-key").addEventListener("click", () => this.#enterKey());
    byId("sessions").addEventListener("change", (event) => this.go(event.target.value));
    byId("key-dialog").addEventListener("close", () => this.#keyEntered());
    addEventListener("hashchange", () => this.show());
  }

  async run() {
    setInterval(() => this.#health(), HEALTH_MS);
    await Promise.all([this.#health(), this.show()]);
  }

  /** Shows a session, or with "" the form that begins one. @param {string} sessionId */
  go(sessionId) {
    if (location.hash.slice(1) === sessionId) this.show();
    else location.hash = sessionId;
  }

  /** Shows what the address says. */
  async show() {
    const sessionId = location.hash.slice(1);
    this.said("");
    byId("beginning").hidden = sessionId !== "";
    await this.attempt(() => (sessionId ? this.session.show(sessionId) : this.session.leave()));
    await this.attempt(() => this.#list(sessionId));
  }

  /** Does something, and says in words where it fails. @param {() => any} work */
  async attempt(work) {
    try {
      return await work();
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      if (!error.hint && !("status" in error)) console.error(error);
      if (error.status === 401) this.#enterKey();
      this.said(inWords(error));
      return undefined;
    }
  }

  /** Says something that matters, until another page is shown. @param {string} words */
  said(words) {
    const alert = byId("alert");
    if (alert.textContent !== words) alert.textContent = words;
    alert.hidden = words === "";
  }

  async #list(sessionId) {
    const { sessions, next } = await this.client.listSessions({ limit: LISTED });
    if (sessionId !== location.hash.slice(1)) return; // it is listed anew for the one that is shown by now
    const known = sessions.map((one) => element("option", { value: one.id }, nameOf(one)));
    const picker = byId("sessions");
    picker.replaceChildren(element("option", { value: "" }, sessions.length ? "Sessions…" : "No sessions yet"), ...known);
    if (sessionId && !sessions.some((one) => one.id === sessionId)) {
      picker.append(element("option", { value: sessionId }, sessionId));
    }
    if (next) picker.append(element("option", { disabled: true }, `The last ${LISTED}; \`rmt sessions list\` has all`));
    picker.value = sessionId;
  }

  async #health() {
    const health = byId("health");
    const words = await this.client.status().then(
      ({ ready, status }) => (ready ? "ready" : `not ready: ${status}`),
      () => "no connection; trying again",
    );
    if (health.textContent !== words) health.textContent = words;
  }

  #enterKey() {
    const dialog = byId("key-dialog");
    if (dialog.open) return;
    byId("key").value = sessionStorage.getItem(KEY) ?? "";
    dialog.returnValue = "";
    dialog.showModal();
  }

  #keyEntered() {
    if (byId("key-dialog").returnValue !== "save") return;
    sessionStorage.setItem(KEY, byId("key").value.trim());
    this.attempt(() => {
      this.client = this.#connected();
      return this.show();
    });
  }

  #connected() {
    try {
      return new Client({ apiKey: sessionStorage.getItem(KEY) || undefined });
    } catch (error) {
      sessionStorage.removeItem(KEY);
      throw error;
    }
  }
}

/** @param {any} session */
function nameOf(session) {
  return session.metadata.title || `${session.id.slice(0, 12)}…`;
}

await new App().run();
