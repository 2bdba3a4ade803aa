// What ESI lets us ask for: a gauge for each window of our address, a bar for each pilot's own.

import { Keyed, h, mark, refill, say, svg } from './dom.js';
import { timeUntil } from './time.js';
import { duration } from './time.js';
import { compact, number } from './words.js';

const SHOWN = 5;
const LOW = 0.15;
const ARC = 135; // degrees to either side of the top
const RADIUS = 42;

/** @type {Record<string, string>} */
const WORDS = {
  killmail: 'Killmail details',
  'char-killmail': 'Killmail list',
  'corp-killmail': 'Corporation list',
  status: 'Server status',
  'error-limit': 'Errors allowed',
};

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function budgetsPanel(state) {
  const gauges = h('ul', { class: 'gauges' });
  const bars = h('ul', { class: 'meters' });
  const barsTitle = h('h3', { hidden: true }, 'Each pilot’s own');
  const more = h('button', { type: 'button', class: 'plain more', hidden: true });
  const none = h('p', { class: 'soft', hidden: true }, 'Nothing was asked of ESI in the last window: every budget is full.');
  const downtime = h('p', { class: 'note', hidden: true }, 'EVE or ESI is down just now. Nothing is asked until it is back.');
  const panel = h('section', { class: 'card', id: 'esi', aria: { labelledby: 'esi-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'esi-title' }, 'ESI budgets')), downtime, none, gauges, barsTitle, bars, more);
  const rounds = new Keyed(gauges, (/** @type {any} */ each) => each.group, gauge);
  const lines = new Keyed(bars, (/** @type {any} */ each) => `${each.group} ${each.characterId}`, meter);
  let open = false;

  const show = () => {
    const overview = state.get('overview');
    if (!overview) return;
    const { status, users } = overview;
    const names = new Map(users.map((/** @type {any} */ each) => [each.characterId, each.characterName]));
    const address = status.budgets.filter((/** @type {any} */ each) => each.characterId === null);
    const own = status.budgets
      .filter((/** @type {any} */ each) => each.characterId !== null)
      .map((/** @type {any} */ each) => ({ ...each, name: nameOf(each, names) }))
      .sort((/** @type {any} */ one, /** @type {any} */ other) =>
        one.remaining / one.limit - other.remaining / other.limit || one.name.localeCompare(other.name));
    downtime.hidden = !status.downtime;
    none.hidden = status.budgets.length > 0;
    const rank = (/** @type {any} */ each) => (Object.keys(WORDS).indexOf(each.group) + 99) % 99;
    rounds.show(address.sort((/** @type {any} */ one, /** @type {any} */ other) => rank(one) - rank(other)));
    barsTitle.hidden = !own.length;
    lines.show(open ? own : own.slice(0, SHOWN));
    more.hidden = own.length <= SHOWN;
    say(more, open ? 'Show fewer' : `Show all ${number(own.length)}`);
    mark(more, 'aria-expanded', String(open));
  };
  more.addEventListener('click', () => {
    open = !open;
    show();
  });
  state.on('overview', show);
  return panel;
}

/**
 * Whose budget it is. A pilot whose login reads a corporation's list has one for that, too.
 * @param {any} budget @param {Map<string, string>} names
 */
function nameOf(budget, names) {
  const pilot = names.get(budget.characterId) ?? `Pilot ${budget.characterId}`;
  return budget.group === 'corp-killmail' ? `${pilot} (corporation)` : pilot;
}

/** @param {any} budget */
const part = (budget) => Math.max(0, Math.min(1, budget.limit ? budget.remaining / budget.limit : 0));

/** @param {any} budget */
const level = (budget) => (part(budget) <= 0.02 ? 'dry' : part(budget) <= LOW ? 'low' : 'fine');

/** @param {any} budget */
function refills(budget) {
  if (budget.remaining >= budget.limit || !budget.nextTokensAt) return ['full'];
  return ['more in ', timeUntil(budget.nextTokensAt)];
}

/** @param {any} budget @param {string} name */
const meterLabels = (budget, name) => ({
  label: name,
  valuemin: 0,
  valuemax: budget.limit,
  valuenow: Math.max(0, budget.remaining),
  valuetext: `${number(budget.remaining)} of ${number(budget.limit)} tokens left`,
});

/** @param {number} degrees from the top, clockwise */
function point(degrees) {
  const angle = (degrees / 180) * Math.PI;
  return `${(50 + RADIUS * Math.sin(angle)).toFixed(2)} ${(50 - RADIUS * Math.cos(angle)).toFixed(2)}`;
}

/** @param {any} first */
function gauge(first) {
  const path = `M${point(-ARC)}A${RADIUS} ${RADIUS} 0 1 1 ${point(ARC)}`;
  const fill = svg('path', { d: path, class: 'gauge-fill', pathLength: 100 });
  const left = h('span', { class: 'gauge-left' });
  const limit = h('span', { class: 'gauge-limit' });
  const next = h('p', { class: 'gauge-next' });
  const dial = h('div', { class: 'gauge-dial', role: 'meter' },
    svg('svg', { viewBox: '0 0 100 88', aria: { hidden: 'true' }, focusable: 'false' },
      svg('path', { d: path, class: 'gauge-track', pathLength: 100 }), fill),
    h('p', { class: 'gauge-words' }, left, limit));
  const window = h('span');
  const node = h('li', { class: 'gauge' }, dial,
    h('p', { class: 'gauge-name', title: first.group }, WORDS[first.group] ?? first.group), next,
    h('p', { class: 'gauge-next' }, window, ' window'));
  return {
    node,
    update: (/** @type {any} */ budget) => {
      node.dataset.level = level(budget);
      const share = part(budget) * 100;
      mark(fill, 'stroke-dasharray', `${share.toFixed(2)} 200`);
      fill.classList.toggle('empty', share < 0.5);
      say(left, compact(Math.max(0, budget.remaining)));
      say(limit, `of ${compact(budget.limit)}`);
      for (const [name, value] of Object.entries(meterLabels(budget, WORDS[budget.group] ?? budget.group))) mark(dial, `aria-${name}`, value);
      renew(next, budget);
      say(window, duration(budget.windowSeconds));
    },
  };
}

/** @param {any} first */
function meter(first) {
  const bar = h('div', { class: 'meter-bar', role: 'meter' });
  const left = h('span', { class: 'meter-left' });
  const next = h('span', { class: 'meter-next soft' });
  const node = h('li', { class: 'meter' },
    h('span', { class: 'meter-name', title: first.group }, first.name), next, left, bar);
  return {
    node,
    update: (/** @type {any} */ budget) => {
      node.dataset.level = level(budget);
      bar.style.setProperty('--part', String(part(budget)));
      say(left, `${compact(Math.max(0, budget.remaining))} / ${compact(budget.limit)}`);
      for (const [name, value] of Object.entries(meterLabels(budget, `${WORDS[budget.group] ?? budget.group} of ${budget.name}`))) mark(bar, `aria-${name}`, value);
      renew(next, budget);
    },
  };
}

/** @param {HTMLElement} place @param {any} budget */
function renew(place, budget) {
  const key = budget.remaining >= budget.limit ? 'full' : String(budget.nextTokensAt);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  refill(place, ...refills(budget));
}
