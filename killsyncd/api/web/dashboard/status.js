// The first glance: is it syncing, and if not, why and what to do.

import { parts, remedy } from './commands.js';
import { Keyed, announce, h, mark, refill, say } from './dom.js';
import { loginButton } from './header.js';
import { favicon, icon, logo } from './icons.js';
import { duration, timeSince, timeUntil } from './time.js';
import { number, plural } from './words.js';

const LOGIN_HELPS = new Set(['nobody_logged_in', 'needs_login', 'owner_changed', 'scope_missing']);
const WAITING = new Set(['downtime', 'error_limit', 'budget_dry', 'budget_blocked']);
const SHOWN_PROBLEMS = 4;
const FAVICONS = { good: favicon('#f0b35a'), bad: favicon('#ff7d70') };

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function statusPanel(state) {
  const title = h('h1', { id: 'status-title' }, 'Asking the daemon');
  const summary = h('p', { class: 'hero-summary' }, h('span', { class: 'bone', css: { '--w': '16rem' } }));
  const ring = h('div', { class: 'ring', aria: { hidden: 'true' } }, logo('ring-logo'));
  const figures = h('dl', { class: 'figures' });
  const problems = h('ul', { class: 'problems', hidden: true });
  const more = h('button', { type: 'button', class: 'plain', hidden: true });
  const stale = h('div', { class: 'note bad stale', hidden: true });
  const panel = h('section', { class: 'hero', aria: { labelledby: 'status-title' }, data: { mood: 'wait' } },
    h('div', { class: 'hero-top' }, ring, h('div', { class: 'hero-words' }, title, summary), figures), stale, problems, more);
  let all = false;
  let spoken = '';
  const rows = new Keyed(problems, (/** @type {any} */ each) => each.key, problemRow);
  const numbers = figureRow(figures);

  const show = () => {
    const overview = state.get('overview');
    if (!overview) return;
    const { status, users } = overview;
    const link = state.get('link');
    const out = link?.state === 'down' && !link.answers;
    const { mood, words, line } = out ? unreachable(status) : verdict(status, users);
    panel.dataset.mood = mood;
    say(title, words);
    refill(summary, ...line);
    numbers(status, users, out);
    figures.hidden = !users.length;
    // Before the first login the welcome below says what to do, and better.
    const told = users.length ? status.problems : status.problems.filter((/** @type {any} */ each) => each.code !== 'nobody_logged_in');
    const groups = grouped(told);
    const shown = all ? groups : groups.slice(0, SHOWN_PROBLEMS);
    problems.hidden = !shown.length;
    rows.show(shown);
    more.hidden = groups.length <= SHOWN_PROBLEMS;
    say(more, all ? 'Show fewer' : `Show ${groups.length - SHOWN_PROBLEMS} more`);
    mark(more, 'aria-expanded', String(all));
    document.title = mood === 'good' ? 'Syncing · killsyncd' : `${words} · killsyncd`;
    const tab = document.getElementById('favicon');
    if (tab) mark(tab, 'href', FAVICONS[mood === 'bad' ? 'bad' : 'good']);
    if (spoken && spoken !== words) announce(words);
    spoken = words;
  };
  more.addEventListener('click', () => {
    all = !all;
    show();
  });
  state.on('overview', show);
  state.on('stale', (/** @type {import('./graphql.js').Refused|null} */ error) => {
    stale.hidden = !error;
    if (error) refill(stale, 'This is no longer fresh: ', sentence(error.message), ' ', ...remedy(error.remedy ? sentence(error.remedy) : ''));
  });
  state.on('link', (/** @type {import('./state.js').Link} */ link) => {
    if (link.state === 'down' && !state.get('overview')) neverSeen(panel, title, summary, link);
    show();
  });
  return panel;
}

/**
 * Nothing was to be learned since the page was opened.
 * @param {HTMLElement} panel @param {HTMLElement} title @param {HTMLElement} summary
 * @param {import('./state.js').Link} link
 */
function neverSeen(panel, title, summary, link) {
  panel.dataset.mood = 'bad';
  say(title, link.answers ? 'The daemon cannot say how it is' : 'The daemon does not answer');
  // How it is run is more than a page can know that nobody answers.
  say(summary, link.answers ? sentence(link.reason ?? '') : 'Is it running? Whatever starts it (systemd, Docker, a terminal) says why not.');
}

/** What can be said of a daemon that is gone. @param {any} status */
function unreachable(status) {
  return { mood: 'bad', words: 'Out of touch', line: [status.syncing ? 'It was syncing when it last answered.' : 'It was not syncing when it last answered.'] };
}

/**
 * One word and one line for all of it.
 * @param {any} status
 * @param {any[]} users
 */
function verdict(status, users) {
  const stopping = status.problems.filter((/** @type {any} */ each) => each.stops);
  // Without its database the daemon knows no pilots.
  const known = !stopping.some((/** @type {any} */ each) => each.code === 'database_failing');
  if (!users.length && known) return { mood: 'wait', words: 'Ready for its first pilot', line: ['Nobody has logged in yet.'] };
  const here = users.filter((each) => each.state !== 'LEFT');
  if (!here.length && known) return { mood: 'wait', words: 'Nobody is logged in', line: ['What is stored stays.'] };
  if (!status.syncing) {
    const waits = stopping.length > 0 && stopping.every((/** @type {any} */ each) => WAITING.has(each.code));
    const paused = stopping.length > 0 && stopping.every((/** @type {any} */ each) => each.code.includes('paused'));
    if (waits) return { mood: 'wait', words: status.downtime ? 'Waiting for EVE' : 'Waiting for ESI', line: ['Work goes on by itself.'] };
    if (paused) return { mood: 'wait', words: 'Paused', line: ['What is queued stays queued.'] };
    return { mood: 'bad', words: 'Not syncing', line: [`${plural(Math.max(1, stopping.length), 'thing')} to look at.`] };
  }
  const words = 'Syncing';
  if (status.pendingDetails) {
    const eta = status.pendingEta;
    const line = [`${plural(status.pendingDetails, 'killmail')} on the way`];
    if (eta !== null && eta >= 1) line.push(`, about ${duration(eta)} within ESI’s limits`);
    return { mood: 'good', words, line: [...line, '.'] };
  }
  const needy = here.filter((each) => each.state !== 'OK').length;
  const held = status.waiting.filter((/** @type {any} */ each) => each.what === 'list' && each.code !== 'cache');
  const ok = here.length - needy - held.length;
  const first = held.map((/** @type {any} */ each) => each.until).sort()[0];
  const rest = [];
  if (needy) rest.push(`, ${number(needy)} ${needy === 1 ? 'needs' : 'need'} a look`);
  if (held.length) rest.push(`, ${number(held.length)} ${held.length === 1 ? 'waits' : 'wait'} for ESI: `, timeUntil(first));
  const line = rest.length
    ? [`${plural(Math.max(0, ok), 'pilot')} up to date`, ...rest, '.']
    : [`${here.length === 1 ? 'One pilot' : `All ${number(here.length)} pilots`} up to date.`];
  return { mood: 'good', words, line };
}

/**
 * The numbers at the side.
 * @param {HTMLElement} place
 * @returns {(status: any, users: any[], out: boolean) => void}
 */
function figureRow(place) {
  const box = (/** @type {string} */ label) => {
    const value = h('dd', null, h('span', { class: 'bone', css: { '--w': '3rem' } }));
    place.append(h('div', { class: 'figure' }, h('dt', null, label), value));
    return value;
  };
  const pilots = box('Pilots');
  const pending = box('On the way');
  const failed = box('Set aside');
  const next = box('Next round');
  const up = box('Up for');
  mark(/** @type {Element} */ (failed.parentElement), 'title', 'Killmails that ESI or the database refused several times (quarantined)');
  return (status, users, out) => {
    const here = users.filter((each) => each.state !== 'LEFT').length;
    const ok = users.filter((each) => each.state === 'OK').length;
    say(pilots, ok === here ? number(ok) : `${number(ok)} of ${number(here)}`);
    say(pending, number(status.pendingDetails));
    say(failed, number(status.quarantined));
    /** @type {Element} */ (failed.parentElement).classList.toggle('warns', status.quarantined > 0);
    if (status.producerRunning) refill(next, 'running');
    else if (!status.producerEnabled) refill(next, 'off');
    else if (status.nextProducerRun) refill(next, timeUntil(status.nextProducerRun));
    else refill(next, '–');
    refill(up, out ? '–' : timeSince(status.startedAt));
    if (out) refill(next, '–');
    mark(/** @type {Element} */ (up.parentElement), 'title', `killsyncd ${status.version}`);
  };
}

/**
 * The same problem of many pilots is one row.
 * @param {any[]} problems
 */
function grouped(problems) {
  /** @type {Map<string, any[]>} */
  const byCode = new Map();
  for (const each of problems) {
    const those = byCode.get(each.code);
    if (those) those.push(each);
    else byCode.set(each.code, [each]);
  }
  return [...byCode].map(([code, those]) => ({ key: code, code, those }));
}

/** @param {{code: string, those: any[]}} group */
function problemRow(group) {
  const sign = h('span', { class: 'problem-sign' });
  const lines = h('div');
  const meta = h('p', { class: 'problem-meta' });
  const node = h('li', { class: 'problem' }, sign, h('div', null, lines, meta));
  let told = '';
  return {
    node,
    update: (/** @type {{code: string, those: any[]}} */ { code, those }) => {
      const text = JSON.stringify(those);
      if (text === told) return;
      told = text;
      const [first] = those;
      const waits = WAITING.has(code) || code.includes('paused');
      node.dataset.weight = first.stops ? (waits ? 'wait' : 'stops') : 'minor';
      refill(sign, icon(code.includes('paused') ? 'pause' : first.stops ? (waits ? 'clock' : 'stop') : 'alert'));
      refill(lines, ...reasons(code, those));
      refill(meta, h('code', null, code), ' for ', timeSince(oldest(those)));
    },
  };
}

/**
 * Reasons, the first three, each with its remedy; one remedy where all have the same.
 * @param {string} code
 * @param {any[]} those
 */
function reasons(code, those) {
  const [first] = those;
  const shown = those.slice(0, 3);
  const whose = code === 'corporation_not_read' ? 'list' : 'pilot';
  const more = those.length > 3 ? ` And ${plural(those.length - 3, whose)} more.` : '';
  const button = LOGIN_HELPS.has(code) && code !== 'nobody_logged_in' ? loginButton('Log in again', 'small quiet') : null;
  const pair = (/** @type {string} */ reason, /** @type {string} */ cure, /** @type {any} */ last) => [
    h('p', { class: 'problem-reason' }, reason), h('p', { class: 'problem-remedy' }, ...remedy(sentence(cure)), last)];
  if (those.every((each) => each.remedy === first.remedy)) {
    return pair(sentence(shown.map((each) => each.reason).join('; ')) + more, first.remedy, button);
  }
  const pairs = shown.flatMap((each) => pair(sentence(each.reason), each.remedy, null));
  return [...pairs, more ? h('p', { class: 'problem-reason' }, more.trim()) : null, button];
}

/** @param {any[]} problems @returns {string} */
const oldest = (problems) => problems.map((each) => each.since).sort()[0];

/** @param {string} text */
function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return '';
  const found = parts(trimmed); // a command keeps its small letter, and no full stop stands behind one
  const begun = found[0].command ? trimmed : trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(begun) || found[found.length - 1].command ? begun : `${begun}.`;
}

