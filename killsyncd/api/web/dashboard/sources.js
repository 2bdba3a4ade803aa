// Where killmails come from besides pilots' own lists: corporations, zKillboard, files; each with its reason and remedy.

import { remedy } from './commands.js';
import { Keyed, h, mark, refill, say } from './dom.js';
import { ask } from './graphql.js';
import { SOURCES } from './queries.js';
import { localShort, timeAgo } from './time.js';
import { list, nameOf, number, plural } from './words.js';

const EVERY = 15_000;

/** @type {Record<string, string>} */
const STATES = {
  OK: 'Read',
  ROLE_MISSING: 'Role missing',
  SCOPE_MISSING: 'Scope missing',
  NO_TOKEN: 'No reader',
  PAUSED: 'Paused',
  UNAVAILABLE: 'Not read',
};

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function sourcesPanel(state) {
  const covered = h('p', { class: 'soft source-covered' });
  const rows = h('ul', { class: 'sources' });
  const panel = h('section', { class: 'card', id: 'sources', hidden: true, aria: { labelledby: 'sources-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'sources-title' }, 'Sources')), covered, rows);
  const keyed = new Keyed(rows, (/** @type {any} */ each) => each.key, sourceRow);
  let asked = 0;

  const load = async () => {
    if (Date.now() - asked < EVERY || state.get('link')?.state !== 'up') return;
    asked = Date.now();
    try {
      const found = await ask(SOURCES);
      const shown = [...found.corporations.map(corporation), ...thirdParty(found.zkillboard), ...files(found.files)];
      panel.hidden = !state.get('overview')?.users.length;
      say(covered, coverage(state.get('overview')?.users.length ?? 0, found));
      keyed.show(shown);
    } catch {
      asked = 0; // with the next overview
    }
  };
  state.on('overview', load);
  return panel;
}

/** What all of it covers, in a sentence. @param {number} pilots @param {any} found */
function coverage(pilots, found) {
  const parts = [`the losses and final blows of ${plural(pilots, 'pilot')}`];
  const read = found.corporations.filter((/** @type {any} */ each) => each.state === 'OK');
  if (read.length) parts.push(`those of all members of ${plural(read.length, 'corporation')}`);
  if (found.zkillboard.length) parts.push('what zKillboard knows that they took part in');
  return `Covered: ${list(parts)}.`;
}

/** @param {any} source */
function corporation(source) {
  const via = source.via.map((/** @type {any} */ each) => each.characterName);
  const range = source.completeFrom
    ? `complete from ${localShort(Date.parse(source.completeFrom))} to ${localShort(Date.parse(source.completeTo))}` : '';
  return {
    key: source.id,
    name: nameOf(source.subject, 'Corporation'),
    kind: 'corporation',
    state: source.state,
    reason: source.stateReason,
    remedy: source.remedy,
    facts: [
      source.lastSyncAt ? ['read ', timeAgo(source.lastSyncAt)] : 'not read yet',
      via.length ? ` with ${via[0]}’s login${via.length > 1 ? ` (${number(via.length - 1)} more could)` : ''}` : null,
      source.pending ? ` · ${number(source.pending)} to come` : null,
      range ? ` · ${range}` : null,
    ],
  };
}

/** All of zKillboard's lists as one: there is one for each pilot. @param {any[]} sources */
function thirdParty(sources) {
  if (!sources.length) return [];
  // One that is not asked about (logged out, say) is no trouble of the others.
  const bad = sources.find((each) => each.state === 'UNAVAILABLE') ?? (sources.every((each) => each.state !== 'OK') ? sources[0] : null);
  const latest = sources.map((each) => each.lastSyncAt).filter(Boolean).sort().pop();
  const pending = sources.reduce((sum, each) => sum + each.pending, 0);
  return [{
    key: 'zkillboard',
    name: 'zKillboard',
    kind: plural(sources.length, 'list'),
    state: bad?.state ?? 'OK',
    reason: bad?.stateReason,
    remedy: bad?.remedy,
    facts: [
      latest ? ['looked at ', timeAgo(latest)] : 'not looked at yet',
      pending ? ` · ${number(pending)} to come` : null,
    ],
  }];
}

/** @param {any[]} sources */
const files = (sources) => sources.map((each) => ({
  key: each.id, name: 'Imported files', kind: '', state: each.state, facts: ['kept as they came'],
}));

function sourceRow() {
  const name = h('span', { class: 'source-name' });
  const kind = h('span', { class: 'soft' });
  const how = h('span', { class: 'source-state' });
  const facts = h('p', { class: 'soft' });
  const help = h('p', { class: 'source-help', hidden: true });
  let told = '';
  return {
    node: h('li', { class: 'source' }, h('div', { class: 'source-head' }, name, kind, how), facts, help),
    update: (/** @type {any} */ each) => {
      say(name, each.name);
      say(kind, each.kind);
      say(how, STATES[each.state] ?? each.state);
      mark(how, 'data-state', each.state);
      refill(facts, ...each.facts);
      const words = [each.reason, each.remedy].filter(Boolean).join('. ');
      help.hidden = !words;
      if (words === told) return; // the button that copies keeps its focus
      told = words;
      refill(help, ...(each.reason ? [`${each.reason}${each.remedy ? ' → ' : ''}`] : []), ...(each.remedy ? remedy(each.remedy) : []));
    },
  };
}
