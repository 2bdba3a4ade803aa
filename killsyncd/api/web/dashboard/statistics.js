// The page of statistics: sums, months, the ranking of pilots, and what there was most of.

import { h, mark, refill } from './dom.js';
import { nothing } from './filters.js';
import { Gone, Locked, ask } from './graphql.js';
import { icon } from './icons.js';
import { RANKING, STATISTICS } from './queries.js';
import { dashboardAddress, statisticsAddress } from './router.js';
import { now } from './time.js';
import { iskSum } from './values.js';
import { isk, nameOf, number, percent, plural } from './words.js';

const DAY = 86_400_000;
const SPANS = /** @type {const} */ ([[30, '30 days'], [90, '90 days'], [365, 'A year']]);
const MONTH = new Intl.DateTimeFormat('en', { month: 'short', year: 'numeric', timeZone: 'UTC' });
const FILTERS = /** @type {Record<string, string>} */ ({ TYPE: 'ship', SYSTEM: 'system', REGION: 'region', CORPORATION: 'corporation' });

/**
 * @param {import('./state.js').State} state
 * @returns {{node: HTMLElement, open: (pilot: string|null, days: number) => Promise<void>, close: () => void}}
 */
export function statisticsView(state) {
  const body = h('div', { class: 'statistics-body' });
  const who = h('select', { aria: { label: 'Statistics of' } });
  const spans = SPANS.map(([days, words]) => ({ days, node: h('a', { class: 'segment' }, words) }));
  const node = h('article', { class: 'statistics', hidden: true },
    h('div', { class: 'statistics-head' }, h('h1', { tabindex: -1 }, 'Statistics'),
      h('div', { class: 'filters' }, who, h('div', { class: 'segments', role: 'group', aria: { label: 'Time' } }, ...spans.map((each) => each.node)))), body);
  /** @type {{pilot: string|null, days: number}|null} */
  let shown = null;
  let failed = false;
  let asked = 0;
  who.addEventListener('change', () => {
    location.hash = statisticsAddress(who.value || null, shown?.days ?? 90);
  });
  const showWho = () => {
    const users = state.get('overview')?.users ?? [];
    refill(who, h('option', { value: '' }, 'All pilots'),
      ...users.map((/** @type {any} */ each) => h('option', { value: each.characterId }, each.characterName)));
    who.value = shown?.pilot ?? '';
    for (const { days, node: link } of spans) {
      mark(link, 'href', statisticsAddress(shown?.pilot ?? null, days));
      mark(link, 'aria-current', shown?.days === days ? 'true' : null);
    }
  };
  state.on('overview', () => shown && showWho());
  const load = async () => {
    if (!shown) return;
    const number = ++asked;
    const { pilot, days } = shown;
    const times = { from: new Date(now() - days * DAY).toISOString(), to: new Date(now() + DAY).toISOString() };
    failed = false;
    try {
      const [{ statistics }, ranking] = await Promise.all([
        ask(STATISTICS, { ...times, pilot }),
        pilot ? { ranking: [] } : ask(RANKING, { ...times, by: 'KILLS' }),
      ]);
      if (number === asked) show(body, statistics, ranking.ranking, days);
    } catch (error) {
      if (number !== asked) return;
      failed = true;
      if (!(error instanceof Locked)) showError(body, /** @type {Error} */ (error), load);
    }
  };
  state.on('link', (/** @type {import('./state.js').Link} */ link) => {
    if (link.state === 'up' && shown && failed) load();
  });
  return {
    node,
    open: async (pilot, days) => {
      shown = { pilot, days };
      document.title = 'Statistics · killsyncd';
      node.hidden = false;
      showWho();
      if (!body.children.length) refill(body, h('div', { class: 'card', aria: { hidden: 'true' } }, ...[14, 9, 12].map((each) =>
        h('p', null, h('span', { class: 'bone', css: { '--w': `${each}rem` } })))));
      await load();
    },
    close: () => {
      asked++;
      shown = null;
      node.hidden = true;
    },
  };
}

/** @param {HTMLElement} body @param {Error} error @param {() => void} retry */
function showError(body, error, retry) {
  const button = h('button', { type: 'button', class: 'button' }, 'Try again');
  button.addEventListener('click', retry);
  refill(body, h('div', { class: 'card notice bad' }, h('h2', null, 'The statistics could not be loaded'),
    h('p', null, `${error.message}.`, error instanceof Gone ? ' They are tried again as soon as the daemon answers.' : ''), h('p', null, button)));
}

/** @param {HTMLElement} body @param {any} found @param {any[]} ranking @param {number} days */
function show(body, found, ranking, days) {
  if (!found.kills && !found.losses) {
    refill(body, h('div', { class: 'card notice' }, h('h2', null, 'Nothing in this time'),
      h('p', null, days < 365 ? h('a', { href: statisticsAddress(null, 365) }, 'Look at a year') : 'No killmail of the last year is stored here.')));
    return;
  }
  refill(body, sums(found),
    h('div', { class: 'columns report-columns' },
      h('div', { class: 'column' }, months(found.byMonth), ranking.length ? pilots(ranking) : null),
      h('div', { class: 'column tallies' },
        tallies('Ships destroyed', found.shipsKilled, 'kills'), tallies('Ships flown', found.shipsFlown, 'kills', false),
        tallies('Ships lost', found.shipsLost, 'losses'), tallies('Systems', found.systems, 'both'),
        tallies('Regions', found.regions, 'both'), tallies('Opponents', found.opponents, 'both'))));
}

/** @param {any} found */
function sums(found) {
  const part = found.efficiency;
  return h('section', { class: 'card sums', aria: { label: 'In sum' } },
    h('dl', { class: 'figures' },
      figure('Kills', number(found.kills), 'kill'), figure('Losses', number(found.losses), 'loss'),
      figure('Solo', number(found.solo)), figure('Final blows', number(found.finalBlows)),
      figure('Destroyed', iskSum(found.iskDestroyed)), figure('Lost', iskSum(found.iskLost)), figure('Efficiency', percent(part))),
    part === null ? null : h('div', { class: 'balance', css: { '--part': part }, aria: { hidden: 'true' } }));
}

/** @param {string} label @param {any} value @param {string} [side] */
const figure = (label, value, side = '') => h('div', { class: 'figure', data: side ? { side } : {} }, h('dt', null, label), h('dd', null, value));

/** @param {string} title @param {any[]} columns @param {any} rows @param {string} [id] */
const table = (title, columns, rows, id = title.toLowerCase().replace(/ /g, '-')) => h('section', { class: 'card', aria: { labelledby: id } },
  h('div', { class: 'card-head' }, h('h2', { id }, title)),
  h('div', { class: 'scroll', tabindex: 0, role: 'region', aria: { labelledby: id } },
    h('table', { class: 'sheet' }, h('thead', null, h('tr', null, ...columns.map(([words, end]) => h('th', { scope: 'col', class: end ? 'end' : '' }, words)))), h('tbody', null, ...rows))));

/** @param {any[]} all */
function months(all) {
  const most = Math.max(1, ...all.map((each) => Math.max(each.kills, each.losses)));
  return table('By month', [['Month'], ['Kills', 1], ['Losses', 1], ['Destroyed', 1], ['Lost', 1], ['Efficiency', 1]],
    [...all].reverse().map((each) => h('tr', null, h('th', { scope: 'row' }, MONTH.format(Date.parse(each.month))),
      h('td', { class: 'end' }, bar('kill', each.kills / most), number(each.kills)), h('td', { class: 'end' }, bar('loss', each.losses / most), number(each.losses)),
      h('td', { class: 'end' }, iskSum(each.iskDestroyed)), h('td', { class: 'end' }, iskSum(each.iskLost)), h('td', { class: 'end soft' }, percent(each.efficiency)))));
}

/** @param {string} side @param {number} part */
const bar = (side, part) => h('span', { class: `bar ${side}`, css: { '--part': part }, aria: { hidden: 'true' } });

/** @param {any[]} rows */
function pilots(rows) {
  return table('By pilot', [['Pilot'], ['Kills', 1], ['Blows', 1], ['Solo', 1], ['Losses', 1], ['Destroyed', 1], ['Lost', 1]],
    rows.map((each) => h('tr', null,
      h('th', { scope: 'row' }, each.users.length === 1
        ? h('a', { href: dashboardAddress({ ...nothing(), pilot: each.users[0].characterId }) }, each.name)
        : [each.name, h('span', { class: 'soft' }, ` ${plural(each.users.length, 'pilot')}`)]),
      ...[each.kills, each.finalBlows, each.solo, each.losses].map((count) => h('td', { class: 'end' }, number(count))),
      h('td', { class: 'end' }, iskSum(each.iskDestroyed)), h('td', { class: 'end' }, iskSum(each.iskLost)))));
}

/**
 * @param {string} title @param {any[]} rows @param {'kills'|'losses'|'both'} which
 * @param {boolean} [linked] whether the list can be narrowed to these
 */
function tallies(title, rows, which, linked = true) {
  if (!rows.length) return null;
  const id = title.toLowerCase().replace(/ /g, '-');
  const count = (/** @type {any} */ each) => each.kills + each.losses;
  const most = Math.max(...rows.map(count));
  return h('section', { class: 'card', aria: { labelledby: id } }, h('h2', { id }, title),
    h('ol', { class: 'tally' }, ...rows.map((each) => {
      const name = nameOf(each.entity, 'Number');
      const words = which === 'both' ? `${plural(each.kills, 'kill')}, ${plural(each.losses, 'loss', 'losses')}` : plural(count(each), which === 'kills' ? 'kill' : 'loss', which === 'kills' ? 'kills' : 'losses');
      return h('li', null,
        linked ? h('a', { href: dashboardAddress({ ...nothing(), [FILTERS[each.entity.kind]]: each.entity.id }) }, name) : h('span', null, name),
        h('span', { class: 'soft' }, words, each.isk ? ` · ${isk(each.isk)}` : ''),
        h('span', { class: 'tally-bar', css: { '--kills': each.kills / most, '--losses': each.losses / most }, aria: { hidden: 'true' } }));
    })));
}

/** The way here, for the bar on top. */
export const statisticsLink = () => h('a', { href: '#/statistics', class: 'nav', aria: { label: 'Statistics' } }, icon('bars'), h('span', { class: 'wide' }, 'Statistics'));
