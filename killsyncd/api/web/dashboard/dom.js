// Building DOM without markup: what comes from the daemon (pilots choose their own names) only ever
// becomes text, never HTML.

/** @typedef {Node|string|number|null|undefined|false} Child */
/** @typedef {Record<string, any>} Props */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * An element. Props: `class`, `data` (data-*), `on` (listeners), `aria` (aria-*), `css` (custom
 * properties), everything else is an attribute; null, undefined and false leave it out.
 * @param {string} tag
 * @param {Props|null} [props]
 * @param {...(Child|Child[])} children
 * @returns {any}
 */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/**
 * An SVG element, with the same props.
 * @param {string} tag
 * @param {Props|null} [props]
 * @param {...(Child|Child[])} children
 * @returns {any}
 */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/**
 * @param {any} node
 * @param {Props|null|undefined} props
 * @param {(Child|Child[])[]} children
 */
function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'on') for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === 'data') Object.assign(node.dataset, value);
    else if (name === 'css') for (const [key, each] of Object.entries(value)) node.style.setProperty(key, String(each));
    else if (name === 'aria') {
      for (const [key, each] of Object.entries(value)) {
        if (each !== null && each !== undefined) node.setAttribute(`aria-${key}`, String(each));
      }
    } else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...kept(children));
  return node;
}

/** @param {(Child|Child[])[]} children @returns {(Node|string)[]} */
function kept(children) {
  return /** @type {any[]} */ (children)
    .flat(2)
    .filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (typeof each === 'number' ? String(each) : each));
}

/**
 * Put these children in the place of those that are there.
 * @param {Element} node
 * @param {...(Child|Child[])} children
 */
export function refill(node, ...children) {
  node.replaceChildren(...kept(children));
}

/**
 * Set text, and touch nothing where it says the same already: selections stay, screen readers are quiet.
 * @param {Element} node
 * @param {string} text
 */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Set or drop an attribute, likewise.
 * @param {Element} node
 * @param {string} name
 * @param {string|number|boolean|null|undefined} value
 */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else {
    const text = value === true ? '' : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/**
 * @template T
 * @typedef {{node: HTMLElement, update?: (item: T) => void}} Piece
 */

/**
 * The children of a list, one per item, by key: what stays is neither made anew nor moved, so that focus,
 * scroll position and animations survive.
 * @template T
 */
export class Keyed {
  /**
   * @param {Element} parent
   * @param {(item: T) => string} keyOf
   * @param {(item: T) => Piece<T>} make
   * @param {number} [after] children at the beginning that are none of ours
   */
  constructor(parent, keyOf, make, after = 0) {
    this.parent = parent;
    this.keyOf = keyOf;
    this.make = make;
    this.after = after;
    /** @type {Map<string, Piece<T>>} */
    this.pieces = new Map();
  }

  /** @param {T[]} items */
  show(items) {
    const wanted = new Set(items.map(this.keyOf));
    for (const [key, piece] of this.pieces) {
      if (!wanted.has(key)) {
        piece.node.remove();
        this.pieces.delete(key);
      }
    }
    /** @type {Element|null} */
    let at = this.parent.children[this.after] ?? null;
    for (const item of items) {
      const key = this.keyOf(item);
      let piece = this.pieces.get(key);
      if (!piece) {
        piece = this.make(item);
        this.pieces.set(key, piece);
      }
      piece.update?.(item);
      if (piece.node === at) at = at.nextElementSibling;
      else this.parent.insertBefore(piece.node, at);
    }
  }
}

/** Say something to screen readers only. @param {string} text */
export function announce(text) {
  const place = document.getElementById('announcer');
  if (place) place.textContent = text;
}
