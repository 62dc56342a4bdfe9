import { byId, size } from "./words.js";

/** The form that begins a session: a document, and the questions to read it with. */
export class Beginning {
  #file = null;

  /** @param {any} app */
  constructor(app) {
    this.app = app;
    const drop = byId("drop");
    byId("file").addEventListener("change", (event) => this.#choose(event.target.files[0] ?? null));
    byId("unchoose").addEventListener("click", () => {
      this.#choose(null);
      byId("file").focus();
    });
    byId("begin").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#once(() => app.attempt(() => this.#begin()));
    });
    for (const name of ["dragenter", "dragover"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const dropped = event.dataTransfer.files[0];
      this.#choose(dropped ?? null);
      if (!dropped) byId("pasted").value = event.dataTransfer.getData("text/plain");
    });
  }

  /** A file is read, or what is pasted: never one of both unseen. */
  #choose(file) {
    this.#file = file;
    if (!file) byId("file").value = "";
    byId("chosen").textContent = file ? `${file.name}, ${size(file.size)}` : "";
    byId("unchoose").hidden = !file;
    byId("pasted").disabled = file !== null;
  }

  /** A second click while the first is at work begins nothing. */
  async #once(work) {
    const button = byId("begin").querySelector("[type=submit]");
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    await work();
    button.ariaDisabled = "false";
  }

  async #begin() {
    const pasted = byId("pasted").value;
    const source = this.#file ?? new Blob([pasted]);
    if (source.size === 0 || (!this.#file && !pasted.trim())) {
      this.app.said("There is nothing to read yet: choose a file, or paste a text.");
      return;
    }
    this.app.said("");
    const title = this.#file?.name ?? titleOf(pasted);
    const focus = byId("focus").value.split("\n").map((line) => line.trim()).filter(Boolean);
    const session = await this.app.client.createSession({ focus, metadata: { title } });
    byId("begin").reset();
    this.#choose(null);
    this.app.session.send(session.id, source, title);
    this.app.go(session.id);
  }
}

/** @param {string} text */
function titleOf(text) {
  const line = text.trim().split("\n", 1)[0];
  const letters = [...line];
  return letters.length > 60 ? `${letters.slice(0, 57).join("")}…` : line;
}
