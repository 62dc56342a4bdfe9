import { count, element } from "./words.js";

const COMMON = new Set(
  (
    "a about all an and any are as at be because been but by can could did do does for from had has have he her him " +
    "his how i if in into is it its me my no not of on or our she so than that the their them then there these they " +
    "this those to up us was we were what when where which who whom whose why will with would you your"
  ).split(" "),
);
const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const SCRIPTS = ["Han", "Hiragana", "Katakana", "Hangul", "Thai", "Lao", "Khmer", "Myanmar"]; // often without spaces
const UNSPACED = new RegExp(`[${SCRIPTS.map((script) => `\\p{Script=${script}}`).join("")}]`, "u");
const ENDING = /(?:ing|ed|ies|es|ly|s|e|y)$/;
const SHOWN_CHARS = 300;
const BEFORE_CHARS = 70;

/**
 * @typedef {object} Place A place of a session's text.
 * @property {string | null} document_id
 * @property {string | null} [document] The document's name.
 * @property {number} start Its first byte.
 * @property {number} end The byte behind it.
 * @property {number} [answer_start] The first byte of the answer inside.
 * @property {number} [answer_end]
 * @property {string} [query] What was looked for there.
 * @property {number | null} [page]
 * @property {string | null} [section]
 */

/**
 * A text cut in parts where these of its bytes begin.
 *
 * @param {string} text
 * @param {number[]} bytes In their order.
 */
export function cut(text, ...bytes) {
  const data = new TextEncoder().encode(text);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const edges = [0, ...bytes.map((byte) => Math.min(Math.max(byte, 0), data.length)), data.length];
  return edges.slice(1).map((edge, index) => decoder.decode(data.subarray(edges[index], edge)));
}

/** A citation's quote, its answer marked. @param {any} citation */
export function quoteOf({ quote, start, answer_start: from, answer_end: to }) {
  const [before, answer, behind] = cut(quote, from - start, to - start);
  return [before, element("mark", {}, answer), behind];
}

/** What of a passage matches a query best, its words marked. @param {string} text @param {string} query */
export function snippetOf(text, query) {
  const found = wordsIn(text, query);
  const behind = SHOWN_CHARS - BEFORE_CHARS;
  const around = (one) => found.filter((other) => other.from >= one.from && other.to <= one.from + behind);
  const kinds = (one) => new Set(around(one).map((other) => other.stem)).size;
  const best = found.reduce((most, one) => (most && kinds(most) >= kinds(one) ? most : one), found[0]);
  const wanted = Math.max(0, (best?.from ?? 0) - BEFORE_CHARS);
  const space = wanted > 0 ? text.indexOf(" ", wanted) : -1;
  const from = space >= 0 && space < best.from ? space + 1 : wanted;
  const last = text.length - from > SHOWN_CHARS ? text.lastIndexOf(" ", from + SHOWN_CHARS) : text.length;
  const to = Math.max(last > from ? last : from + SHOWN_CHARS, best?.to ?? 0);
  return [from > 0 ? "… " : "", ...marked(text, found, from, to), to < text.length ? " …" : ""];
}

/** A text with the words of a query marked. @param {string} text @param {string} query */
export function withWords(text, query) {
  return marked(text, wordsIn(text, query), 0, text.length);
}

/**
 * A button that opens the reader at a place.
 *
 * @param {any} page The session's.
 * @param {Place} place
 * @param {(Node | string)[]} words
 */
export function placeButton(page, place, words) {
  const where = [
    place.document ?? "",
    place.page ? `page ${count(place.page)}` : "",
    place.section ?? "",
    place.page || place.section ? "" : `byte ${count(place.start)}`,
  ];
  const button = element(
    "button",
    { type: "button", className: "place" },
    element("span", { className: "words" }, ...words),
    element("span", { className: "where" }, ["Show in the text", ...where.filter(Boolean)].join(" · ")),
  );
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", "reader");
  button.addEventListener("click", () => page.app.attempt(() => page.reader.toggle(button, place)));
  return button;
}

function marked(text, found, from, to) {
  const parts = [];
  let at = from;
  for (const one of found.filter((other) => other.from >= from && other.to <= to)) {
    parts.push(text.slice(at, one.from), element("mark", {}, text.slice(one.from, one.to)));
    at = one.to;
  }
  return [...parts, text.slice(at, to)].filter((part) => part !== "");
}

/** Where the words of a query are in a text: like the search, without case and accents, and with other endings, too. */
function wordsIn(text, query) {
  const asked = [...query.matchAll(WORD)].map(([word]) => folded(word));
  const telling = asked.filter((word) => !COMMON.has(word));
  const wanted = telling.length ? telling : asked;
  const stems = new Set(wanted.map(stemOf));
  const pairs = new Set(wanted.filter((word) => UNSPACED.test(word)).flatMap(pairsOf));
  const found = [];
  for (const { 0: word, index } of text.matchAll(WORD)) {
    const stem = stemOf(folded(word));
    if (UNSPACED.test(word)) {
      found.push(...runsIn(word, pairs).map(([from, to]) => ({ from: index + from, to: index + to, stem })));
    } else if (stems.has(stem)) found.push({ from: index, to: index + word.length, stem });
  }
  return found;
}

function folded(word) {
  return word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

/** What is left of a word without its English endings; no dictionary's stem, but the same for the forms of a word. */
function stemOf(word) {
  let stem = word;
  for (;;) {
    const shorter = stem.replace(ENDING, "");
    if (shorter === stem || shorter.length < 3) break;
    stem = shorter;
  }
  return stem.length > 3 ? stem.replace(/(.)\1$/, "$1") : stem;
}

function pairsOf(word) {
  const letters = [...word];
  return letters.length === 1 ? letters : letters.slice(1).map((letter, index) => letters[index] + letter);
}

/** From where to where some pairs of characters are in a word. */
function runsIn(word, pairs) {
  const runs = [];
  for (let at = 0; at < word.length; at += 1) {
    const pair = [...pairs].find((one) => word.startsWith(one, at));
    if (pair === undefined) continue;
    const last = runs.at(-1);
    if (last && last[1] >= at) last[1] = at + pair.length;
    else runs.push([at, at + pair.length]);
  }
  return runs;
}
