// Addresses behind the hash: `#/`, `#/?pilot=ID&show=losses`, `#/killmail/ID`. Other hashes (`#feed`) are
// places on the page, for the browser alone.

/**
 * @typedef {object} Route
 * @property {'dashboard'|'killmail'|'unknown'} view
 * @property {string} [id]
 * @property {import('./mails.js').Choice} choice
 */

/** @param {string} hash @returns {Route|null} null: not ours */
export function parse(hash) {
  if (hash && hash !== '#' && !hash.startsWith('#/')) return null;
  const [path, query = ''] = hash.slice(2).split('?');
  const parameters = new URLSearchParams(query);
  const show = parameters.get('show');
  const pilot = parameters.get('pilot');
  /** @type {import('./mails.js').Choice} */
  const choice = {
    pilot: pilot && /^\d{1,19}$/.test(pilot) ? pilot : null,
    side: show === 'kills' || show === 'losses' ? show : 'all',
  };
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
  const query = parameters.toString();
  return query ? `#/?${query}` : '#/';
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
