// Addresses behind the hash: `#/`, `#/?pilot=ID&show=losses&region=ID&worth=1e9`, `#/killmail/ID`,
// `#/statistics?pilot=ID&days=90`. Other hashes (`#feed`) are places on the page, for the browser alone.

import { CONDITIONS, WORTH, SPACE, nothing } from './filters.js';

/**
 * @typedef {object} Route
 * @property {'dashboard'|'killmail'|'statistics'|'unknown'} view
 * @property {string} [id]
 * @property {number} [days] of the statistics
 * @property {import('./mails.js').Choice} choice
 */

/** @param {string} hash @returns {Route|null} null: not ours */
export function parse(hash) {
  if (hash && hash !== '#' && !hash.startsWith('#/')) return null;
  const [path, query = ''] = hash.slice(2).split('?');
  const parameters = new URLSearchParams(query);
  const show = parameters.get('show');
  const pilot = parameters.get('pilot');
  const anId = (/** @type {string|null} */ text) => (text && /^\d{1,19}$/.test(text) ? text : null);
  const among = (/** @type {string|null} */ text, /** @type {string[]} */ known) => (text && known.includes(text) ? text : null);
  /** @type {import('./mails.js').Choice} */
  const choice = {
    ...nothing(),
    pilot: anId(pilot),
    side: show === 'kills' || show === 'losses' ? show : 'all',
    space: among(parameters.get('space'), Object.keys(SPACE)),
    worth: among(parameters.get('worth'), Object.keys(WORTH)),
    order: parameters.get('order') === 'value' ? 'value' : 'time',
    ...Object.fromEntries(Object.keys(CONDITIONS).map((each) => [each, anId(parameters.get(each))])),
  };
  if (path === 'statistics') {
    const days = Number(parameters.get('days'));
    return { view: 'statistics', choice, days: [30, 90, 365].includes(days) ? days : 90 };
  }
  if (path === '') return { view: 'dashboard', choice };
  const killmail = /^killmail\/(\d{1,19})$/.exec(path);
  if (killmail) return { view: 'killmail', id: killmail[1], choice };
  return { view: 'unknown', choice };
}

/** @param {import('./mails.js').Choice} choice */
export function dashboardAddress(choice) {
  const parameters = new URLSearchParams();
  if (choice.pilot) parameters.set('pilot', choice.pilot);
  if (choice.side !== 'all') parameters.set('show', choice.side);
  for (const each of [...Object.keys(CONDITIONS), 'space', 'worth']) {
    const value = /** @type {any} */ (choice)[each];
    if (value) parameters.set(each, value);
  }
  if (choice.order === 'value') parameters.set('order', 'value');
  const query = parameters.toString();
  return query ? `#/?${query}` : '#/';
}

/** @param {string|null} pilot @param {number} days */
export function statisticsAddress(pilot, days) {
  const parameters = new URLSearchParams(pilot ? { pilot } : {});
  if (days !== 90) parameters.set('days', String(days));
  return `#/statistics${parameters.size ? `?${parameters}` : ''}`;
}

/** @param {string} id */
export const killmailAddress = (id) => `#/killmail/${id}`;

/**
 * Tell of every change of the address, and of what it is now.
 * @param {(route: Route) => void} listener
 */
export function onRoute(listener) {
  const tell = () => {
    const route = parse(location.hash);
    if (route) listener(route);
  };
  addEventListener('hashchange', tell);
  tell();
}
