// What the list is narrowed by: everything of it stands in the address.

import { h, mark, refill } from './dom.js';
import { CONDITIONS, SPACE, WORTH } from './filters.js';
import { icon } from './icons.js';
import { dashboardAddress } from './router.js';
import { called, remember, searchField } from './search.js';

/**
 * @param {import('./state.js').State} state
 * @param {import('./mails.js').Mails} mails
 */
export function filterBar(state, mails) {
  const sides = /** @type {const} */ ([['all', 'All'], ['kills', 'Kills'], ['losses', 'Losses']]);
  const orders = /** @type {const} */ ([['time', 'Newest'], ['value', 'Dearest']]);
  const segments = [
    ...sides.map(([side, words]) => ({ change: { side }, node: h('a', { class: 'segment' }, words) })),
    ...orders.map(([order, words]) => ({ change: { order }, node: h('a', { class: 'segment' }, words) })),
  ];
  const go = (/** @type {Partial<import('./mails.js').Choice>} */ change) => {
    location.hash = dashboardAddress({ ...mails.choice, ...change });
  };
  const pilots = select('Killmails of', (value) => go({ pilot: value }));
  const space = select('Kind of space', (value) => go({ space: value }), 'All space', SPACE);
  const worth = select('Value', (value) => go({ worth: value }), 'Any value', WORTH);
  const search = searchField((key, found) => {
    remember(key, found);
    go({ [key]: found.id });
  });
  const chips = h('ul', { class: 'chips', aria: { label: 'Only' } });
  let told = '';
  const showChips = () => {
    const keys = /** @type {(keyof typeof CONDITIONS)[]} */ (Object.keys(CONDITIONS));
    const active = keys.filter((each) => mails.choice[each]);
    refill(chips, ...active.map((key) => {
      const name = called(key, /** @type {string} */ (mails.choice[key]), showChips);
      return h('li', null, h('a', { class: 'chip off', href: dashboardAddress({ ...mails.choice, [key]: null }) },
        h('span', { class: 'soft' }, CONDITIONS[key].words), name, h('span', { class: 'unseen' }, ', remove'), icon('destroyed')));
    }));
    chips.hidden = !active.length;
  };
  const show = () => {
    for (const { change, node } of segments) {
      mark(node, 'href', dashboardAddress({ ...mails.choice, ...change }));
      const [[name, value]] = Object.entries(change);
      mark(node, 'aria-current', /** @type {any} */ (mails.choice)[name] === value ? 'true' : null);
    }
    const users = state.get('overview')?.users ?? [];
    const text = JSON.stringify(users.map((/** @type {any} */ each) => [each.characterId, each.characterName]));
    if (text !== told) {
      told = text;
      refill(pilots, h('option', { value: '' }, 'Every pilot'),
        ...users.map((/** @type {any} */ each) => h('option', { value: each.characterId }, each.characterName)));
    }
    pilots.value = mails.choice.pilot ?? '';
    pilots.hidden = users.length < 2;
    space.value = mails.choice.space ?? '';
    worth.value = mails.choice.worth ?? '';
    const key = JSON.stringify(mails.choice);
    if (chips.dataset.of !== key) {
      chips.dataset.of = key;
      showChips();
    }
  };
  state.on('overview', show);
  const group = (/** @type {string} */ label, /** @type {any[]} */ some) =>
    h('div', { class: 'segments', role: 'group', aria: { label } }, ...some.map((each) => each.node));
  const node = h('div', { class: 'filters' }, pilots, group('Kills or losses', segments.slice(0, 3)));
  const more = h('div', { class: 'filters more-filters' }, search, space, worth, group('Order', segments.slice(3)), chips);
  return { node, more, show };
}

/**
 * @param {string} label
 * @param {(value: string|null) => void} changed
 * @param {string} [all]
 * @param {Record<string, string>} [options]
 * @returns {HTMLSelectElement}
 */
function select(label, changed, all, options = {}) {
  const node = h('select', { aria: { label } }, all ? h('option', { value: '' }, all) : null,
    ...Object.entries(options).map(([value, words]) => h('option', { value }, words)));
  node.addEventListener('change', () => changed(node.value || null));
  return node;
}
