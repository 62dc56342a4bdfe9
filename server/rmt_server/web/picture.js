import { count } from "./words.js";

const AXIS_PX = 18;

/**
 * The memory along a document: a column for each kept place, a row for each memory vector, darker where it moved further.
 *
 * The canvas is a slider, too: arrows move along the columns, Enter chooses.
 */
export class MemoryPicture {
  #points = [];
  #lane = 0;
  #column = 0;
  #found = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(start: number, stop: number) => void} choose Hears which bytes of the document were chosen.
   */
  constructor(canvas, choose) {
    this.canvas = canvas;
    this.choose = choose;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    canvas.addEventListener("click", (event) => {
      this.#column = this.#columnAt(event.offsetX);
      this.#chosen();
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * @param {any[]} points Of the timeline, with `vectors`.
   * @param {number} lane
   */
  show(points, lane) {
    this.#points = points;
    this.#lane = lane;
    this.#column = Math.min(this.#column, Math.max(0, points.length - 1));
    this.#draw();
  }

  /** Marks where something was found. @param {[number, number] | null} bytes */
  mark(bytes) {
    this.#found = bytes;
    if (bytes) this.#column = this.#columnOf(bytes[0]);
    this.#draw();
  }

  #columnOf(byte) {
    const column = this.#points.findIndex((point) => point.bytes > byte);
    return column < 0 ? Math.max(0, this.#points.length - 1) : column;
  }

  #columnAt(x) {
    const column = Math.floor((x / this.canvas.clientWidth) * this.#points.length);
    return Math.min(Math.max(column, 0), Math.max(0, this.#points.length - 1));
  }

  #chosen() {
    this.#draw();
    if (this.#points.length > 0) this.choose(this.#startOf(this.#column), this.#points[this.#column].bytes);
  }

  #startOf(column) {
    return column > 0 ? this.#points[column - 1].bytes : 0;
  }

  #key(event) {
    const last = this.#points.length - 1;
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    if (event.key === "Enter" || event.key === " ") this.#chosen();
    else if (event.key === "Home") this.#column = 0;
    else if (event.key === "End") this.#column = last;
    else if (event.key in moves) this.#column += moves[event.key];
    else return;
    event.preventDefault();
    this.#column = Math.max(0, Math.min(this.#column, last));
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const ink = (name) => resolved(canvas, style.getPropertyValue(name));
    const points = this.#points;
    this.#tell();
    if (points.length === 0) return;
    const rows = points.map((point) => point.vectors?.[this.#lane] ?? [point.moved[this.#lane] ?? 0]);
    const seen = (rows.length > 1 ? rows.slice(1) : rows).flat(); // the first comes from nothing, and would outshine all
    const [least, most] = [Math.min(...seen), Math.max(...seen)];
    const shade = (moved) => Math.min(1, Math.max(0, (moved - least) / Math.max(most - least, 1e-9)));
    const [columnWidth, rowHeight] = [width / points.length, (height - AXIS_PX) / rows[0].length];
    pen.fillStyle = ink("--accent");
    rows.forEach((row, column) => {
      row.forEach((moved, index) => {
        pen.globalAlpha = 0.06 + 0.94 * shade(moved);
        pen.fillRect(column * columnWidth, index * rowHeight, Math.max(columnWidth - 0.5, 0.5), Math.max(rowHeight - 0.5, 0.5));
      });
    });
    pen.globalAlpha = 1;
    const x = (column) => column * columnWidth;
    if (this.#found) {
      const [from, to] = [this.#columnOf(this.#found[0]), this.#columnOf(Math.max(this.#found[0], this.#found[1] - 1))];
      pen.strokeStyle = ink("--found");
      pen.lineWidth = 3;
      pen.strokeRect(x(from) + 1.5, 1.5, Math.max((to - from + 1) * columnWidth - 3, 3), height - AXIS_PX - 3);
    }
    pen.strokeStyle = ink("--text");
    pen.lineWidth = 1.5;
    pen.strokeRect(x(this.#column) + 0.75, 0.75, Math.max(columnWidth - 1.5, 1.5), height - AXIS_PX - 1.5);
    pen.fillStyle = ink("--quiet");
    pen.font = `12px ${style.fontFamily}`;
    pen.textBaseline = "bottom";
    pen.fillText("segment 1", 4, height - 2);
    const end = count(points[points.length - 1].segment);
    pen.fillText(end, width - pen.measureText(end).width - 4, height - 2);
  }

  #tell() {
    const last = Math.max(0, this.#points.length - 1);
    const point = this.#points[this.#column];
    const where = point
      ? `up to segment ${count(point.segment)}, bytes ${count(this.#startOf(this.#column))} to ${count(point.bytes)}`
      : "nothing read yet";
    this.canvas.setAttribute("aria-valuemax", String(last));
    this.canvas.setAttribute("aria-valuenow", String(this.#column));
    this.canvas.setAttribute("aria-valuetext", where);
  }
}

/** A colour as a canvas understands it: `light-dark()` has to be computed first. */
function resolved(canvas, value) {
  const probe = document.createElement("span");
  probe.style.color = value;
  canvas.parentElement.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
