// Pictures of ships and people: our own glyphs and initials, or CCP's where the operator wants them.

import { hullClass } from './hulls.js';
import { h, svg } from './dom.js';

const SERVER = 'https://images.evetech.net';

/** Seen from above, bow up, on a grid of 32; the larger the class, the more of the grid it fills. */
const HULLS = {
  '': 'M16 8l7 8-7 8-7-8z',
  capsule: 'M16 9c2.8 0 4 3 4 7s-1.2 7-4 7-4-3-4-7 1.2-7 4-7zM13.5 14h5',
  shuttle: 'M16 9l3 9v4l-3-1.5-3 1.5v-4z',
  frigate: 'M16 7l2.5 9 4.5 5-5-1-2 4-2-4-5 1 4.5-5z',
  destroyer: 'M16 5l2.5 8v8l-2.5 5-2.5-5v-8zM11 14l-2.5 3v6l4-2.5M21 14l2.5 3v6l-4-2.5',
  cruiser: 'M16 5l4 8 6 5v4l-6-1.5V25l-4 2-4-2v-4.5L6 22v-4l6-5z',
  battlecruiser: 'M16 4l4 6v4l6 4v6l-5-2v4l-5 2.5L11 26v-4l-5 2v-6l6-4v-4zM16 12v9',
  battleship: 'M13 4h6l3 8 5 4v7l-4 1v3l-4-1.5h-6L9 27v-3l-4-1v-7l5-4zM16 9v11M11.5 17v4M20.5 17v4',
  capital: 'M12 3h8l2 7 6 3v12l-7 4H11l-7-4V13l6-3zM16 7v8M10 15v9M22 15v9M16 19v6',
  supercapital: 'M11 2h10l2 6 6 3v14l-6 5H9l-6-5V11l6-3zM16 6v20M10 12v12M22 12v12M6 15v7M26 15v7',
  industrial: 'M12 5h8v5h-8zM10 12h12v6H10zM10 20h12v6H10zM16 10v2M16 18v2',
  freighter: 'M13 3h6v4h-6zM8 9h7v7H8zM17 9h7v7h-7zM8 18h7v7H8zM17 18h7v7h-7zM13 27h6v2h-6z',
  mining: 'M13 4h6l2 7v14l-5 3-5-3V11zM8 6v9l3 2M24 6v9l-3 2M16 9v8',
  structure: 'M16 3l5 5v5h5v7l-4 2-6 7-6-7-4-2v-7h5V8zM16 8v14M11 16h10',
  deployable: 'M12 13h8v8h-8zM16 13V7M12 7h8M12 21l-4 4M20 21l4 4M12 17H7M20 17h5',
};

/**
 * A ship's picture.
 * @param {{id: string, name: string|null}|null|undefined} type
 * @param {boolean} images
 * @param {string} [className]
 * @returns {Element}
 */
export function shipPicture(type, images, className = '') {
  const kind = hullClass(type?.name);
  const drawn = svg(
    'svg',
    { viewBox: '0 0 32 32', class: `glyph ${className}`, aria: { hidden: 'true' }, focusable: 'false' },
    svg('path', { d: HULLS[/** @type {keyof typeof HULLS} */ (kind)] ?? HULLS[''] }),
  );
  return images && type ? picture(`types/${type.id}/render?size=128`, drawn, `glyph ${className}`) : drawn;
}

/**
 * A pilot's portrait, or the initials.
 * @param {{id: string, name: string|null}|null|undefined} pilot
 * @param {boolean} images
 * @param {string} [className]
 * @returns {Element}
 */
export function portrait(pilot, images, className = '') {
  const drawn = h(
    'span',
    { class: `initials ${className}`, aria: { hidden: 'true' }, css: { '--hue': hue(pilot?.id ?? '0') } },
    initials(pilot?.name),
  );
  return images && pilot ? picture(`characters/${pilot.id}/portrait?size=128`, drawn, `initials ${className}`) : drawn;
}

/** An item's icon; nothing without pictures. @param {{id: string}} type @param {boolean} images */
export function itemPicture(type, images) {
  return images ? picture(`types/${type.id}/icon?size=64`, h('span', { class: 'item-icon' }), 'item-icon') : null;
}

/** @param {string} path @param {Element} instead where CCP has none @param {string} className */
function picture(path, instead, className) {
  const image = h('img', {
    src: `${SERVER}/${path}`, alt: '', class: `${className} picture`, loading: 'lazy', decoding: 'async',
    referrerpolicy: 'no-referrer',
  });
  image.addEventListener('error', () => image.replaceWith(instead), { once: true });
  return image;
}

/** @param {string|null|undefined} name */
function initials(name) {
  const words = (name ?? '').split(/\s+/).filter(Boolean);
  if (!words.length) return '?';
  const last = words.length > 1 ? words[words.length - 1] : '';
  return ((/** @type {string} */ ([...words[0]][0])) + ([...last][0] ?? '')).toUpperCase();
}

/** A hue of one's own, the same every time. @param {string} id */
function hue(id) {
  let sum = 0;
  for (const each of id) sum = (sum * 31 + each.charCodeAt(0)) % 360;
  return sum;
}
