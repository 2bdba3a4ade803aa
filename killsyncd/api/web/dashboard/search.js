// A field that finds names: a combobox, as the ARIA practices describe it.

import { announce, h, mark, refill } from './dom.js';
import { ask } from './graphql.js';
import { icon } from './icons.js';
import { CONDITIONS } from './filters.js';
import { SEARCH } from './queries.js';
import { plural } from './words.js';

const PAUSE = 180;
const SHOWN = 9;
const KINDS = Object.values(CONDITIONS).map((each) => each.kind);
const BY_KIND = Object.fromEntries(Object.entries(CONDITIONS).map(([key, each]) => [each.kind, { key, words: each.words }]));

/** @typedef {{id: string, name: string, kind: string}} Found */

/**
 * @param {(key: string, found: Found) => void} choose told what was chosen, and by which condition it narrows
 * @returns {HTMLElement}
 */
export function searchField(choose) {
  const input = h('input', {
    type: 'search', role: 'combobox', autocomplete: 'off', spellcheck: 'false', placeholder: 'Search', maxlength: 100,
    aria: { label: 'Search pilots, ships, systems and regions', expanded: 'false', controls: 'found', autocomplete: 'list' },
  });
  const options = h('ul', { class: 'found', id: 'found', role: 'listbox', aria: { label: 'Found' }, hidden: true });
  const node = h('div', { class: 'search' }, icon('search'), input, options);
  /** @type {Found[]} */
  let found = [];
  let active = -1;
  /** @type {any} */
  let timer;
  let asked = 0;

  const close = () => {
    found = [];
    active = -1;
    options.hidden = true;
    mark(input, 'aria-expanded', 'false');
    mark(input, 'aria-activedescendant', null);
  };
  const take = (/** @type {Found} */ each) => {
    input.value = '';
    close();
    choose(BY_KIND[each.kind].key, each);
  };
  const point = (/** @type {number} */ index) => {
    active = index;
    for (const [at, each] of [...options.children].entries()) mark(each, 'aria-selected', String(at === index));
    mark(input, 'aria-activedescendant', index >= 0 ? `found-${index}` : null);
    options.children[index]?.scrollIntoView({ block: 'nearest' });
  };
  const show = (/** @type {string} */ text) => {
    refill(options, ...(found.length ? found.map((each, index) => {
      const row = h('li', { role: 'option', id: `found-${index}`, aria: { selected: 'false' } },
        h('span', null, each.name), h('span', { class: 'soft' }, BY_KIND[each.kind].words));
      row.addEventListener('pointerdown', (/** @type {Event} */ event) => {
        event.preventDefault();
        take(each);
      });
      return row;
    }) : [h('li', { class: 'soft', role: 'option', aria: { disabled: 'true', selected: 'false' } }, `Nothing is called ${text}.`)]));
    options.hidden = false;
    mark(input, 'aria-expanded', 'true');
    point(found.length ? 0 : -1);
    announce(found.length ? plural(found.length, 'name') : 'Nothing found');
  };
  const look = async () => {
    const text = input.value.trim();
    const number = ++asked;
    if (!text) return close();
    try {
      const { search } = await ask(SEARCH, { text, kinds: KINDS, first: SHOWN });
      if (number !== asked) return;
      found = search;
      show(text);
    } catch {
      close(); // the link says what is wrong
    }
  };
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  });
  input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    const step = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1 })[event.key];
    if (step && found.length) point((active + step + found.length) % found.length);
    else if (event.key === 'Enter' && found[active]) take(found[active]);
    else if (event.key === 'Escape' && !options.hidden) close();
    else return;
    event.preventDefault();
  });
  input.addEventListener('blur', close);
  return node;
}

/** @type {Map<string, string>} */
const names = new Map();

/** Remember what something is called. @param {string} key @param {Found} found */
export const remember = (key, found) => names.set(`${key} ${found.id}`, found.name);

/**
 * What an id of the address is called, at once or when the daemon has said it.
 * @param {keyof typeof CONDITIONS} key @param {string} id @param {() => void} then
 */
export function called(key, id, then) {
  const known = names.get(`${key} ${id}`);
  if (known !== undefined) return known;
  names.set(`${key} ${id}`, `${CONDITIONS[key].words} ${id}`);
  ask(SEARCH, { text: id, kinds: [CONDITIONS[key].kind], first: 1 }).then(({ search: [first] }) => {
    if (first?.id === id) names.set(`${key} ${id}`, first.name);
    then();
  }, () => names.delete(`${key} ${id}`));
  return names.get(`${key} ${id}`);
}
