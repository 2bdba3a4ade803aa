// What was in the wreck, place by place: what dropped, what was destroyed.

import { h } from './dom.js';
import { copyButton } from './commands.js';
import { itemPicture } from './glyphs.js';
import { icon } from './icons.js';
import { bySlot, lines, slotOf, slotsUsed } from './slots.js';
import { iskMark } from './values.js';
import { nameOf, number, plural } from './words.js';

const COPY = 2;
const SHOWN = 40;
const OPEN_UP_TO = 6;
const WHOLE_UP_TO = 14; // a table this short is not broken over two columns

/** @param {any[]} items @param {boolean} images @param {string} eft the fit as EFT text @returns {HTMLElement} */
export function fittingPanel(items, images, eft) {
  const groups = bySlot(items);
  const counts = tally(items);
  return h('section', { class: 'card', aria: { labelledby: 'fitting-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'fitting-title' }, 'In the wreck'),
      items.length ? h('p', { class: 'legend' }, fate('dropped'), `${number(counts.dropped)} dropped`,
        fate('destroyed'), `${number(counts.destroyed)} destroyed`) : null,
      items.length ? copyButton(eft, 'Copy fit, for the game or pyfa', 'Copy fit') : null),
    items.length ? h('div', { class: 'slots' }, ...groups.map((group) => slotTable(group, images)))
      : h('p', { class: 'soft' }, 'The wreck was empty.'));
}

/** @param {{slot: import('./slots.js').Slot, items: any[]}} group @param {boolean} images */
function slotTable({ slot, items }, images) {
  const all = lines(slot, items);
  const body = h('tbody');
  const put = (/** @type {typeof all} */ some) => body.append(...some.flatMap((line) => rows(line, 0, images, slot.fitted)));
  put(all.slice(0, SHOWN));
  const used = slot.fitted ? slotsUsed(items) : all.length;
  const table = h('table', { class: all.length <= WHOLE_UP_TO ? 'slot whole' : 'slot' },
    h('caption', null, slot.name, ' ', h('span', { class: 'soft' }, number(used))),
    h('thead', { class: 'unseen' }, h('tr', null, h('th', { scope: 'col' }, 'Item'), h('th', { scope: 'col' }, 'Value'), h('th', { scope: 'col' }, 'Count'), h('th', { scope: 'col' }, 'Fate'))),
    body);
  if (all.length <= SHOWN) return table;
  const more = h('button', { type: 'button', class: 'plain more' }, `Show ${number(all.length - SHOWN)} more`);
  more.addEventListener('click', () => {
    put(all.slice(SHOWN));
    more.remove();
  });
  return h('div', null, table, more);
}

/**
 * One line, one row for each fate, and what is inside below it.
 * @param {{item: any, dropped: number, destroyed: number, charge: boolean}} line
 * @param {number} depth
 * @param {boolean} images
 * @param {boolean} [fitted]
 * @returns {HTMLElement[]}
 */
function rows({ item, dropped, destroyed, charge }, depth, images, fitted) {
  /** @type {[string, number][]} */
  const fates = [];
  if (destroyed) fates.push(['destroyed', destroyed]);
  if (dropped || !destroyed) fates.push(['dropped', dropped]);
  const within = inside(item.items, depth + 1, images);
  const own = fates.map(([name, count]) => h('tr', { data: { fate: name }, class: charge ? 'charge' : '' },
    h('th', { scope: 'row', css: { '--depth': depth + (charge ? 1 : 0) } },
      h('span', { class: 'item' }, itemPicture(item.itemType, images),
        h('span', null, h('span', { class: item.itemType.name ? '' : 'unnamed' }, nameOf(item.itemType, 'Type')),
          item.singleton === COPY ? h('span', { class: 'tag', title: 'Blueprint copy' }, 'BPC') : null,
          within.length ? opener(item, within) : null))),
    h('td', { class: 'end worth' }, item.value !== null && item.value !== undefined ? iskMark(share(item, count)) : null),
    h('td', { class: 'end count' }, fitted && count === 1 ? h('span', { class: 'unseen' }, '1') : `×${number(count)}`),
    h('td', { class: 'fate' }, fate(name), h('span', { class: 'unseen' }, name))));
  return [...own, ...within];
}

/** What so many of a stack's items were worth. @param {any} item @param {number} count */
function share(item, count) {
  const all = (item.quantityDropped ?? 0) + (item.quantityDestroyed ?? 0);
  return all ? (item.value * count) / all : 0;
}

/**
 * Opens and closes a container. Small ones are open.
 * @param {any} item
 * @param {HTMLElement[]} within
 */
function opener(item, within) {
  const button = h('button', { type: 'button', class: 'plain opener' }, `holds ${plural(item.items.length, 'stack')}`);
  const show = (/** @type {boolean} */ open) => {
    for (const row of within) row.hidden = !open;
    button.setAttribute('aria-expanded', String(open));
  };
  button.addEventListener('click', () => show(button.getAttribute('aria-expanded') !== 'true'));
  show(item.items.length <= OPEN_UP_TO);
  return button;
}

/**
 * What a container or a packed ship holds. Its places are named only where they tell something.
 * @param {any[]} items
 * @param {number} depth
 * @param {boolean} images
 * @returns {HTMLElement[]}
 */
function inside(items, depth, images) {
  if (!items?.length) return [];
  const places = new Set(items.map((each) => slotOf(each.flag).name));
  const plain = places.size < 2;
  return bySlot(items).flatMap(({ slot, items: some }) => [
    ...(plain ? [] : [h('tr', { class: 'place' }, h('th', { scope: 'rowgroup', colspan: 4, css: { '--depth': depth } },
      slot.from === 0 ? 'Inside' : slot.name))]),
    ...lines(plain ? { ...slot, fitted: false } : slot, some).flatMap((line) => rows({ ...line, item: { items: [], ...line.item } }, depth + (plain ? 0 : 0.5), images, slot.fitted)),
  ]);
}

/** @param {string} name */
const fate = (name) => icon(name === 'dropped' ? 'dropped' : 'destroyed', `fate-${name}`);

/** @param {any[]} items @returns {{dropped: number, destroyed: number}} */
function tally(items) {
  const sum = { dropped: 0, destroyed: 0 };
  for (const each of items) {
    sum.dropped += each.quantityDropped ?? 0;
    sum.destroyed += each.quantityDestroyed ?? 0;
    const within = tally(each.items ?? []);
    sum.dropped += within.dropped;
    sum.destroyed += within.destroyed;
  }
  return sum;
}
