// Who is synced: state and remedy, last sync, what is still to come.

import { remedy } from './commands.js';
import { Keyed, announce, h, mark, refill, say } from './dom.js';
import { portrait } from './glyphs.js';
import { ask } from './graphql.js';
import { loginButton } from './header.js';
import { icon } from './icons.js';
import { SYNC } from './queries.js';
import { nothing } from './filters.js';
import { dashboardAddress } from './router.js';
import { timeAgo, timeUntil } from './time.js';
import { number, plural } from './words.js';

const SHOWN = 8; // live.js counts for as many
const SEARCH_FROM = 20;
const FIRST_SYNC_FROM = 5; // fewer are over before a bar could be read

/** @type {Record<string, [any, string]>} */
const STATES = {
  OK: ['check', 'Synced'],
  NEEDS_LOGIN: ['alert', 'Login needed'],
  OWNER_CHANGED: ['alert', 'Owner changed'],
  SCOPE_MISSING: ['alert', 'Scope missing'],
  LEFT: ['pause', 'Logged out'],
  PAUSED: ['pause', 'Paused'],
};
const LOGIN_HELPS = new Set(['NEEDS_LOGIN', 'OWNER_CHANGED', 'SCOPE_MISSING']);
const QUIET = new Set(['OK', 'LEFT']); // nothing is asked of anybody

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function pilotsPanel(state) {
  const table = h('table', { class: 'pilots' },
    h('caption', { class: 'unseen' }, 'Pilots who logged in'),
    h('thead', null, h('tr', null,
      h('th', { scope: 'col' }, 'Pilot'),
      h('th', { scope: 'col', class: 'end' }, 'Last sync'),
      h('th', { scope: 'col', class: 'end' }, 'To come'))));
  const search = h('input', { type: 'search', placeholder: 'Find a pilot', aria: { label: 'Find a pilot' }, hidden: true });
  const all = h('button', { type: 'button', class: 'plain more', hidden: true });
  const note = h('p', { class: 'note', role: 'status', hidden: true });
  const sync = syncButton(note);
  const panel = h('section', { class: 'card', id: 'pilots', aria: { labelledby: 'pilots-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'pilots-title' }, 'Pilots'), search, sync),
    note, table, all);
  const rows = new Keyed(table, (/** @type {any} */ each) => each.id, () => pilotRow(state), 2); // behind caption and head
  let open = false;

  const show = () => {
    const overview = state.get('overview');
    if (!overview) return;
    const wanted = search.value.trim().toLowerCase();
    const found = ordered(overview.users).filter((each) => each.characterName.toLowerCase().includes(wanted));
    search.hidden = overview.users.length <= SEARCH_FROM;
    rows.show(open || wanted ? found : found.slice(0, SHOWN));
    all.hidden = Boolean(wanted) || found.length <= SHOWN;
    say(all, open ? 'Show fewer' : `Show all ${number(found.length)}`);
    mark(all, 'aria-expanded', String(open));
  };
  search.addEventListener('input', show);
  all.addEventListener('click', () => {
    open = !open;
    show();
  });
  state.on('overview', show);
  state.on('stored', show);
  return panel;
}

/** Who needs something first, then who is busy, then by name. @param {any[]} users */
function ordered(users) {
  const rank = (/** @type {any} */ each) => (each.state === 'LEFT' ? 4 : each.state === 'OK' ? (each.pending ? 2 : 3) : each.state === 'PAUSED' ? 1 : 0);
  return [...users].sort((one, other) =>
    rank(one) - rank(other) || one.characterName.localeCompare(other.characterName));
}

/** @param {import('./state.js').State} state */
function pilotRow(state) {
  const who = h('th', { scope: 'row' });
  const last = h('td', { class: 'end soft' });
  const pending = h('td', { class: 'end' });
  const help = h('td', { colspan: 3, class: 'who-help' });
  const node = h('tbody', null, h('tr', null, who, last, pending), h('tr', { hidden: true }, help));
  let told = '';
  return {
    node,
    update: (/** @type {any} */ user) => {
      const stored = state.get('stored')?.get(user.characterId);
      const held = state.get('overview')?.status.waiting.find((/** @type {any} */ each) =>
        each.what === 'list' && each.code !== 'cache' && each.characterId === user.characterId);
      const text = JSON.stringify([user, stored, held]);
      if (text === told) return;
      told = text;
      const images = state.get('session')?.images;
      const pilot = { id: user.characterId, name: user.characterName };
      const ok = QUIET.has(user.state);
      node.dataset.state = user.state;
      refill(who, h('div', { class: 'who' }, portrait(pilot, images), h('div', null,
        h('a', { href: dashboardAddress({ ...nothing(), pilot: user.characterId }), class: 'who-name',
          title: `Show only killmails with ${user.characterName}` }, user.characterName),
        stateLine(user, held))));
      /** @type {HTMLElement} */ (help.parentElement).hidden = ok && !held;
      refill(help, held ? h('p', { class: 'who-remedy' }, `${held.reason.replace(/^.*?\(\d+\): /, '')} · `, timeUntil(held.until)) : ok ? null : h('p', { class: 'who-remedy' }, ...remedy(words(user)),
        LOGIN_HELPS.has(user.state) ? loginButton('Log in again', 'small quiet') : null));
      refill(last, user.lastKillmailSyncAt ? timeAgo(user.lastKillmailSyncAt) : 'not yet');
      refill(pending, ...toCome(user, stored));
    },
  };
}

/** @param {any} user @param {any} held what the pilot's list waits for, if that is not ESI's cache */
function stateLine(user, held) {
  if (held && user.state === 'OK') return h('p', { class: 'state', data: { state: 'PAUSED' } }, icon('clock'), 'Waits for ESI');
  const [picture, label] = STATES[user.state] ?? ['alert', user.state];
  const busy = user.state === 'OK' && (!user.lastKillmailSyncAt ? 'First sync' : user.pending ? 'Syncing' : '');
  return h('p', { class: 'state', data: { state: busy ? 'BUSY' : user.state } }, icon(busy ? 'sync' : picture), busy || label);
}

/** What is the matter and what to do, in one line. @param {any} user */
function words(user) {
  const sentences = [user.stateReason, user.remedy].filter(Boolean).map((/** @type {string} */ each) => each.trim());
  return sentences.map((each) => each[0].toUpperCase() + each.slice(1).replace(/\.$/, '')).join('. ')
    .replace(/\bKillsyncd (?=ctl|login)/g, 'killsyncd ');
}

/** @param {any} user @param {number|undefined} stored */
function toCome(user, stored) {
  if (!user.pending) return [h('span', { class: 'soft' }, user.lastKillmailSyncAt ? '0' : '–')];
  const count = h('span', null, number(user.pending));
  if (stored === undefined || user.pending < FIRST_SYNC_FROM) return [count];
  const part = stored / (stored + user.pending);
  return [count, h('div', {
    class: 'progress', role: 'progressbar', css: { '--part': part },
    aria: {
      label: `Killmails of ${user.characterName}`, valuemin: 0, valuemax: 100, valuenow: Math.round(part * 100),
      valuetext: `${number(stored)} stored, ${number(user.pending)} to come`,
    },
    title: `${number(stored)} stored, ${number(user.pending)} to come`,
  })];
}

/** @param {HTMLElement} note */
function syncButton(note) {
  const button = h('button', { type: 'button', class: 'plain', title: 'Ask every list as soon as ESI lets us' },
    icon('sync'), h('span', null, 'Sync now'));
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const { queueKillmailSync: answers } = await ask(SYNC, { characterIds: null });
      refill(note, ...outcome(answers));
    } catch (error) {
      say(note, `That did not work: ${/** @type {Error} */ (error).message}.`);
    } finally {
      button.disabled = false;
    }
    note.hidden = false;
    announce(note.textContent ?? '');
    setTimeout(() => (note.hidden = true), 12_000);
  });
  return button;
}

/** @param {any[]} answers @returns {(string|HTMLElement)[]} */
function outcome(answers) {
  if (!answers.length) return ['Nobody is there to be synced.'];
  const queued = answers.filter((each) => each.queued).length;
  const skipped = answers.filter((each) => !each.queued);
  const reasons = [...new Set(skipped.map((each) => each.reason).filter(Boolean))].slice(0, 2);
  const told = queued ? [`${plural(queued, 'pilot')} queued.`] : [];
  if (skipped.length) told.push(`${plural(skipped.length, 'pilot')} skipped${reasons.length ? `: ${reasons.join('; ')}` : ''}.`);
  const later = answers.filter((each) => each.queued && each.listAt).map((each) => each.listAt).sort();
  if (!later.length) return [told.join(' ')];
  told.push(`ESI lets ${later.length === answers.length ? 'them' : plural(later.length, 'pilot')} wait; until asked: `);
  const last = later[later.length - 1];
  return [told.join(' '), timeUntil(later[0]), ...(last === later[0] ? [] : [' to ', timeUntil(last)]), '.'];
}
