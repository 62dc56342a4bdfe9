/** How this page says things. */

const COUNT = new Intl.NumberFormat("en");

/** @param {number} count */
export function count(count) {
  return COUNT.format(Math.round(count));
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB"];
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), units.length);
  const value = bytes / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : count(value)} ${units[power - 1]}`;
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** How sure that is. @param {number} confidence 0 to 1 */
export function sureness(confidence) {
  if (confidence >= 0.9) return "Very likely right";
  if (confidence >= 0.7) return "Likely right";
  return confidence >= 0.5 ? "Perhaps right" : "Hardly more than a guess";
}

/** Tells a screen reader, when it has said what it is saying. @param {string} words */
export function say(words) {
  byId("heard").textContent = words;
}

/** What went wrong and what to do. @param {any} error */
export function inWords(error) {
  return [error.message, error.hint].filter(Boolean).join(" ");
}

/**
 * An element with properties and children.
 *
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {(Node | string)[]} children
 */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * The element of this page with an id.
 *
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  return document.getElementById(id);
}
