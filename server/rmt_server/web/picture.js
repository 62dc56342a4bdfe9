import { count } from "./words.js";

const AXIS_PX = 18;
const EMPTY = "no segment is noted here yet";
const NOTHING = { start: 0, segments_each: 1, columns: [] };

/**
 * The memory along a document: a column for each segment, or a few, a row for each memory vector, in a stronger colour
 * where it moved further.
 *
 * The canvas is a slider, too: arrows move along the columns, Enter chooses.
 */
export class MemoryPicture {
  #movements = NOTHING;
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

  /** @param {any} movements Of one lane. */
  show(movements) {
    const at = this.#columns[this.#column]?.segment ?? 0;
    this.#movements = movements;
    const same = this.#columns.findIndex((column) => column.segment >= at); // columns may be fewer than before
    this.#column = Math.max(0, same);
    this.#draw();
  }

  get #columns() {
    return this.#movements.columns;
  }

  get #last() {
    return Math.max(0, this.#columns.length - 1);
  }

  /** Forgets what it showed. */
  clear() {
    this.#found = null;
    this.show(NOTHING);
  }

  /** Marks where something was found. @param {[number, number]} bytes */
  mark(bytes) {
    this.#found = bytes;
    if (this.#shows(bytes)) this.#column = this.#columnOf(bytes[0]);
    this.#draw();
  }

  #columnOf(byte) {
    const column = this.#columns.findIndex((one) => one.bytes > byte);
    return column < 0 ? this.#last : column;
  }

  /** Whether some of these bytes are in a column: those that wait for their segment, or came before a fork, are not. */
  #shows([from, to]) {
    return to > this.#movements.start && from < (this.#columns[this.#last]?.bytes ?? 0);
  }

  #columnAt(x) {
    const column = Math.floor((x / this.canvas.clientWidth) * this.#columns.length);
    return Math.min(Math.max(column, 0), this.#last);
  }

  #chosen() {
    this.#draw();
    const chosen = this.#columns[this.#column];
    if (chosen) this.choose(this.#startOf(this.#column), chosen.bytes);
  }

  #startOf(column) {
    return column > 0 ? this.#columns[column - 1].bytes : this.#movements.start;
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    if (event.key === "Enter" || event.key === " ") this.#chosen();
    else if (event.key === "Home") this.#column = 0;
    else if (event.key === "End") this.#column = this.#last;
    else if (event.key in moves) this.#column += moves[event.key];
    else return;
    event.preventDefault();
    this.#column = Math.max(0, Math.min(this.#column, this.#last));
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
    const columns = this.#columns;
    this.#tell();
    pen.font = `12px ${style.fontFamily}`;
    if (columns.length === 0) {
      pen.fillStyle = ink("--quiet");
      pen.fillText(EMPTY, 4, height / 2);
      return;
    }
    const rows = columns.map((column) => column.moved);
    const shade = shades(this.#movements.start === 0 && rows.length > 1 ? rows.slice(1) : rows);
    const [columnWidth, rowHeight] = [width / columns.length, (height - AXIS_PX) / rows[0].length];
    const gap = columnWidth > 4 ? 1 / ratio : 0;
    const x = (column) => Math.floor((column * width * ratio) / columns.length) / ratio;
    const y = (row) => Math.round(row * rowHeight * ratio) / ratio;
    pen.fillStyle = ink("--accent");
    for (const [left, { row, right }] of bars(rows, x)) {
      row.forEach((moved, index) => {
        pen.globalAlpha = shade(moved);
        pen.fillRect(left, y(index), right - left - gap, y(index + 1) - y(index) - gap);
      });
    }
    pen.globalAlpha = 1;
    const frame = (from, to, wide) => {
      const left = Math.min(x(from), width - 2 * wide);
      pen.lineWidth = wide;
      pen.strokeRect(left + wide / 2, wide / 2, Math.max((to - from + 1) * columnWidth, 2 * wide) - wide, height - AXIS_PX - wide);
    };
    if (this.#found && this.#shows(this.#found)) {
      const [from, to] = [this.#columnOf(this.#found[0]), this.#columnOf(Math.max(this.#found[0], this.#found[1] - 1))];
      pen.strokeStyle = ink("--found");
      frame(from, to, 3);
    }
    pen.strokeStyle = ink("--text");
    frame(this.#column, this.#column, 1.5);
    pen.fillStyle = ink("--quiet");
    pen.textBaseline = "bottom";
    pen.fillText(`segment ${count(columns[0].segment - this.#movements.segments_each + 1)}`, 4, height - 2);
    const end = count(columns[this.#last].segment);
    pen.fillText(end, width - pen.measureText(end).width - 4, height - 2);
  }

  #tell() {
    const column = this.#columns[this.#column];
    const where = column
      ? `up to segment ${count(column.segment)}, bytes ${count(this.#startOf(this.#column))} to ${count(column.bytes)}`
      : EMPTY;
    this.canvas.setAttribute("aria-valuemax", String(this.#last));
    this.canvas.setAttribute("aria-valuenow", String(this.#column));
    this.canvas.setAttribute("aria-valuetext", where);
  }
}

/** What is drawn from where to where: of columns that fall on one pixel, the furthest that each vector moved. */
function bars(rows, x) {
  const known = new Map();
  rows.forEach((row, column) => {
    const [left, right] = [x(column), x(column + 1)];
    const before = known.get(left)?.row ?? row;
    known.set(left, { row: row.map((moved, index) => Math.max(moved, before[index])), right });
  });
  return known;
}

/**
 * How dark a movement is drawn: from the least to the most of some. The first of a text comes from nothing, and is left
 * out of them, for it would outshine all.
 */
function shades(rows) {
  const every = rows.flat();
  const least = every.reduce((one, other) => Math.min(one, other));
  const most = every.reduce((one, other) => Math.max(one, other));
  return (moved) => 0.06 + 0.94 * Math.min(1, Math.max(0, (moved - least) / Math.max(most - least, 1e-9)));
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
