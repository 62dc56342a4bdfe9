import { byId, count, element, size } from "./words.js";

const LISTED = 100;

/** The snapshots of a session: taken, put back, forked, downloaded, uploaded. */
export class Snapshots {
  #shown = "";

  /**
   * @param {any} app
   * @param {any} page The session's.
   */
  constructor(app, page) {
    this.app = app;
    this.page = page;
    byId("keep").addEventListener("submit", (event) => {
      event.preventDefault();
      app.attempt(() => this.#keep());
    });
    byId("snapshot-file").addEventListener("change", ({ target }) => app.attempt(() => this.#upload(target)));
  }

  /** Forgets those of another session. */
  clear() {
    this.#shown = "";
    byId("snapshots").replaceChildren();
  }

  /** Lists them. */
  async show() {
    const { id, signal } = this.page;
    const { snapshots, next } = await this.app.client.listSnapshots(id, { limit: LISTED, signal });
    const shown = JSON.stringify(snapshots.map((one) => [one.id, one.name]));
    if (shown === this.#shown) return; // nobody loses the button that they are about to press
    this.#shown = shown;
    byId("snapshots").replaceChildren(...snapshots.map((one) => this.#entry(one)));
    if (next) byId("snapshots").append(element("li", {}, `The last ${LISTED}; \`rmt snapshots list --session ${id}\` has more.`));
  }

  async #keep() {
    const name = byId("snapshot-name").value.trim();
    await this.app.client.createSnapshot(this.page.id, name ? { name } : {});
    byId("snapshot-name").value = "";
    await this.show();
  }

  async #upload(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    const { client } = this.app;
    const snapshot = await client.importSnapshot(file, { name: file.name });
    this.app.go((await client.createSession({ from_snapshot: snapshot.id, metadata: { title: file.name } })).id);
  }

  #entry(snapshot) {
    const name = snapshot.name || (snapshot.document_id ? "end of a document" : "snapshot");
    const what = `${name}: ${count(snapshot.tokens)} tokens in ${size(snapshot.size_bytes)}`;
    const { client } = this.app;
    const actions = {
      Restore: async () => {
        if (!confirm(`Put the memory back to "${name}"? What was read after it, and the text, will be gone.`)) return;
        await client.restore(this.page.id, snapshot.id);
        await this.app.show();
      },
      Fork: async () => {
        const metadata = { title: `${name} (fork)` };
        this.app.go((await client.createSession({ from_snapshot: snapshot.id, metadata })).id);
      },
      Download: async () => download(await client.exportSnapshot(snapshot.id), `${name}.safetensors`),
      Delete: async () => {
        if (!confirm(`Delete the snapshot "${name}"?`)) return;
        await client.deleteSnapshot(snapshot.id);
        await this.show();
        byId("snapshot-name").focus(); // its button is gone
      },
    };
    const buttons = Object.entries(actions).map(([label, act]) => {
      const button = element("button", { type: "button" }, label);
      button.setAttribute("aria-label", `${label}: ${name}`);
      button.addEventListener("click", () => this.app.attempt(act));
      return button;
    });
    return element("li", {}, element("span", { className: "what" }, what), ...buttons);
  }
}

/**
 * @param {Uint8Array<ArrayBuffer>} content
 * @param {string} name
 */
function download(content, name) {
  const href = URL.createObjectURL(new Blob([content], { type: "application/vnd.safetensors" }));
  element("a", { href, download: name }).click();
  URL.revokeObjectURL(href);
}
