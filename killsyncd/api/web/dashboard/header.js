// The bar on top, the line below it when the daemon is gone, and the foot of the page.

import { h, mark, refill, say } from './dom.js';
import { icon, logo } from './icons.js';
import { lock } from './graphql.js';
import { statisticsLink } from './statistics.js';
import { eve, now, onTick, timeSince } from './time.js';

const THEMES = /** @type {const} */ ([
  ['auto', 'as the system', 'auto'],
  ['light', 'light', 'sun'],
  ['dark', 'dark', 'moon'],
]);
const THEME_KEY = 'killsyncd.theme';

/**
 * @param {import('./state.js').State} state
 * @param {import('./live.js').Live} live
 */
export function header(state, live) {
  const time = h('time', { class: 'eve-time' });
  const lamp = h('span', { class: 'lamp' });
  const lampWords = h('span', { class: 'lamp-words' });
  const out = h('button', { type: 'button', class: 'plain', hidden: true, title: 'Forget the token in this browser' },
    icon('logout'), h('span', { class: 'wide' }, 'Lock'));
  out.addEventListener('click', async () => {
    await lock().catch(() => {});
    live.locked();
  });
  const add = loginButton('Add', 'small', ' pilot');
  mark(add, 'aria-label', 'Add pilot');
  add.hidden = true;
  refill(
    /** @type {Element} */ (document.getElementById('top')),
    h('a', { href: '#/', class: 'brand' }, logo(), h('span', null, 'killsyncd')),
    h('p', { class: 'lamp-box' }, lamp, lampWords),
    h('p', { class: 'clock', title: 'EVE time is UTC' }, h('span', { class: 'clock-label' }, 'EVE'), ' ', time),
    h('div', { class: 'actions' }, statisticsLink(), themeButton(), out, add),
  );
  onTick(() => {
    say(time, eve(now(), false).slice(11));
    mark(time, 'datetime', new Date(now()).toISOString().slice(0, 16) + 'Z');
  });
  state.on('link', (/** @type {import('./state.js').Link} */ link) => {
    const words = { up: 'Live', connecting: 'Connecting', down: 'No connection', locked: 'Locked' };
    mark(lamp, 'data-state', link.state);
    say(lampWords, words[link.state]);
    showOutage(link, () => live.connect());
    out.hidden = link.state !== 'up' || !state.get('session')?.required;
    if (link.state === 'locked') add.hidden = true;
  });
  state.on('overview', (/** @type {import('./state.js').Overview} */ overview) => {
    add.hidden = !overview.users.length;
  });
}

/**
 * @param {string} words
 * @param {string} [className]
 * @param {string} [more] words that narrow screens go without
 * @returns {HTMLAnchorElement}
 */
export function loginButton(words, className = '', more = '') {
  return h('a', { href: 'auth/login', class: `button primary ${className}` }, icon('login'),
    h('span', null, words, more ? h('span', { class: 'wide' }, more) : null));
}

function themeButton() {
  const button = h('button', { type: 'button', class: 'plain theme' });
  const read = () => {
    try {
      return localStorage.getItem(THEME_KEY) ?? 'auto';
    } catch {
      return 'auto';
    }
  };
  let chosen = Math.max(0, THEMES.findIndex(([name]) => name === read()));
  const show = () => {
    const [, words, picture] = THEMES[chosen];
    refill(button, icon(picture));
    mark(button, 'aria-label', `Colours: ${words}`);
    mark(button, 'title', `Colours: ${words}`);
  };
  button.addEventListener('click', () => {
    chosen = (chosen + 1) % THEMES.length;
    const name = THEMES[chosen][0];
    if (name === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    try {
      if (name === 'auto') localStorage.removeItem(THEME_KEY);
      else localStorage.setItem(THEME_KEY, name);
    } catch {
      // It holds until the page is closed, then.
    }
    show();
  });
  show();
  return button;
}

/** @type {{left: HTMLElement, what: HTMLElement, reason: HTMLElement}|null} */
let outage = null;

/** @param {import('./state.js').Link} link @param {() => void} retry */
function showOutage(link, retry) {
  const place = /** @type {Element} */ (document.getElementById('outage'));
  document.body.classList.toggle('is-out', link.state === 'down');
  if (link.state !== 'down') {
    outage = null;
    refill(place);
    return;
  }
  if (!outage) {
    const what = h('strong');
    const reason = h('span');
    const left = h('span', { class: 'outage-left', aria: { hidden: 'true' } });
    const again = h('button', { type: 'button', class: 'plain' }, 'Try now');
    again.addEventListener('click', retry);
    outage = { left, what, reason };
    refill(place, h('div', { class: 'outage' }, icon('plug'),
      h('p', null, what, ' ', reason, ' What you see is how it was ', timeSinceOutage(link), ' ago.'), left, again));
  }
  say(outage.what, link.answers ? 'The daemon cannot say how it is.' : 'The daemon does not answer.');
  say(outage.reason, sentence(link.reason ?? ''));
  outage.left.dataset.at = String(link.retryAt ?? 0);
  countDown();
}

/** @param {import('./state.js').Link} link */
const timeSinceOutage = (link) => timeSince(new Date(link.since ?? Date.now()).toISOString());

/** @param {string} text */
const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.` : '');

function countDown() {
  if (!outage) return;
  const at = Number(outage.left.dataset.at);
  const seconds = Math.ceil((at - Date.now()) / 1000);
  say(outage.left, at && seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting …');
}
onTick(countDown);

/** @param {import('./state.js').State} state */
export function footer(state) {
  const version = h('span', { class: 'foot-version' });
  const stale = h('p', { class: 'foot-new', hidden: true },
    'The daemon was updated since this page was opened. ', reloadButton());
  refill(
    /** @type {Element} */ (document.getElementById('foot')),
    stale,
    h('p', null, version,
      h('a', { href: 'graphql' }, 'GraphQL'),
      h('a', { href: 'graphql/schema.graphql' }, 'Schema')),
    h('p', { class: 'legal' }, 'EVE Online and all its data are property of CCP hf. killsyncd is not affiliated with CCP.'),
  );
  /** @type {string|undefined} */
  let first;
  state.on('overview', ({ status }) => {
    first ??= status.version;
    say(version, `killsyncd ${status.version}`);
    stale.hidden = status.version === first;
  });
}

function reloadButton() {
  const button = h('button', { type: 'button', class: 'plain' }, 'Reload');
  button.addEventListener('click', () => location.reload());
  return button;
}
