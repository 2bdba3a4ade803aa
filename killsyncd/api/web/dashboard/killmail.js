// The page of one killmail.

import { attackersPanel } from './attackers.js';
import { command, copyButton } from './commands.js';
import { h, refill } from './dom.js';
import { SIDES } from './feed.js';
import { fittingPanel } from './fitting.js';
import { iskMark, iskSum, securityMark } from './values.js';
import { portrait, shipPicture } from './glyphs.js';
import { Gone, Locked, ask } from './graphql.js';
import { icon } from './icons.js';
import { sideOf } from './mails.js';
import { KILLMAIL } from './queries.js';
import { nothing } from './filters.js';
import { dashboardAddress } from './router.js';
import { eve, localShort, timeAge, timeAgo } from './time.js';
import { affiliation, list, nameOf, number, partyName, plural } from './words.js';

const NAME_PAUSES = [2000, 5000, 15_000];

/**
 * @param {import('./state.js').State} state
 * @returns {{node: HTMLElement, open: (id: string) => Promise<void>, close: () => void}}
 */
export function killmailView(state) {
  const node = h('article', { class: 'report', hidden: true });
  /** @type {string|null} */
  let shown = null;
  let failed = false;
  /** @type {any} */
  let again;

  /** @param {string} id @param {number} [attempt] names that are not known yet are asked for again */
  const load = async (id, attempt = 0) => {
    failed = false;
    try {
      const { killmail } = await ask(KILLMAIL, { id });
      if (shown !== id) return;
      if (!killmail) return showMissing(node, id);
      showMail(node, killmail, Boolean(state.get('session')?.images));
      if (JSON.stringify(killmail).includes('"name":null') && attempt < NAME_PAUSES.length) {
        again = setTimeout(() => load(id, attempt + 1), NAME_PAUSES[attempt]);
      }
    } catch (error) {
      if (shown !== id || attempt) return;
      failed = true;
      if (!(error instanceof Locked)) showError(node, /** @type {Error} */ (error), () => load(id));
    }
  };
  state.on('link', (/** @type {import('./state.js').Link} */ link) => {
    if (link.state === 'up' && shown && failed) load(shown);
  });
  return {
    node,
    open: async (id) => {
      clearTimeout(again);
      shown = id;
      node.hidden = false;
      showBones(node);
      document.title = `Killmail ${id} · killsyncd`;
      await load(id);
    },
    close: () => {
      clearTimeout(again);
      shown = null;
      node.hidden = true;
      node.replaceChildren();
    },
  };
}

const back = () => h('a', { href: '#/', class: 'back', data: { back: '' } }, icon('back'), 'All killmails');

/** @param {HTMLElement} node */
function showBones(node) {
  refill(node, back(), h('h1', { tabindex: -1, class: 'unseen' }, 'Loading the killmail'),
    h('div', { class: 'card report-head', aria: { hidden: 'true' } },
      h('span', { class: 'bone big' }), h('div', null, h('span', { class: 'bone', css: { '--w': '14rem' } }), h('span', { class: 'bone', css: { '--w': '9rem' } }))),
    h('div', { class: 'columns report-columns', aria: { hidden: 'true' } },
      h('div', { class: 'card' }, ...bones(7)), h('div', { class: 'card' }, ...bones(5))));
}

/** @param {number} count */
const bones = (count) => Array.from({ length: count }, (_, each) => h('p', null, h('span', { class: 'bone', css: { '--w': `${16 - (each * 7) % 9}rem` } })));

/** @param {HTMLElement} node @param {string} id */
function showMissing(node, id) {
  refill(node, back(), h('div', { class: 'card notice' }, h('h1', { tabindex: -1 }, `Killmail ${id} is not stored here`),
    h('p', null, 'It may be of somebody who never logged in, older than what ESI lists, or still on its way. This says which:'),
    h('p', null, command(`killsyncd ctl explain ${id}`))));
}

/** @param {HTMLElement} node @param {Error} error @param {() => void} retry */
function showError(node, error, retry) {
  const button = h('button', { type: 'button', class: 'button' }, 'Try again');
  button.addEventListener('click', retry);
  refill(node, back(), h('div', { class: 'card notice bad' }, h('h1', { tabindex: -1 }, 'This killmail could not be loaded'),
    h('p', null, `${error.message}.`, error instanceof Gone ? ' It is tried again as soon as the daemon answers.' : ''), h('p', null, button)));
}

/** @param {HTMLElement} node @param {any} mail @param {boolean} images */
function showMail(node, mail, images) {
  const focused = node.contains(document.activeElement);
  refill(node, back(), head(mail, images),
    h('div', { class: 'columns report-columns' },
      h('div', { class: 'column' }, fittingPanel(mail.items, images, mail.fitting.eft)),
      h('div', { class: 'column' }, attackersPanel(mail, images))));
  document.title = `${nameOf(mail.victim.shipType, 'Ship')} · ${partyName(mail.victim)} · killsyncd`;
  if (focused) /** @type {HTMLElement|null} */ (node.querySelector('h1'))?.focus({ preventScroll: true });
}

/** @param {any} mail @param {boolean} images */
function head(mail, images) {
  const side = sideOf(mail);
  const [picture, word] = SIDES[side];
  const at = Date.parse(mail.killmailTime);
  const { victim } = mail;
  return h('header', { class: 'card report-head', data: { side } },
    shipPicture(victim.shipType, images, 'report-ship'),
    h('div', { class: 'report-what' },
      h('p', { class: 'report-tags' }, h('span', { class: 'mail-side' }, icon(picture), h('span', null, word)),
        mail.fresh ? h('span', { class: 'tag fresh', title: 'Listed within an hour of the kill' }, 'Fresh') : null,
        mail.solo ? h('span', { class: 'tag' }, 'Solo') : null,
        mail.npc ? h('span', { class: 'tag' }, 'NPC') : null,
        mail.warId ? h('span', { class: 'tag' }, icon('war'), `War ${mail.warId}`) : null,
        mail.moonId ? h('span', { class: 'tag' }, icon('moonrock'), `Moon ${mail.moonId}`) : null),
      h('h1', { tabindex: -1 }, nameOf(victim.shipType, 'Ship')),
      victim.shipType.group?.name ? h('p', { class: 'soft' }, victim.shipType.group.name) : null,
      h('div', { class: 'report-victim' }, victim.character ? portrait(victim.character, images) : null,
        h('div', null, h('p', null, h('strong', null, partyName(victim))),
          victim.character ? h('p', { class: 'soft' }, affiliation(victim)) : null))),
    h('dl', { class: 'report-facts' },
      h('div', { class: 'worth-fact' }, h('dt', null, 'Value'), h('dd', null, iskMark(mail.value?.total, 'big'), ...worth(mail.value))),
      fact('System', securityMark(mail.solarSystem), ' ',
        h('a', { href: dashboardAddress({ ...nothing(), system: mail.solarSystem.id }) }, nameOf(mail.solarSystem, 'System')),
        mail.solarSystem.region ? h('span', { class: 'soft' }, ' · ', h('a', {
          class: 'soft', href: dashboardAddress({ ...nothing(), region: mail.solarSystem.region.id }),
        }, nameOf(mail.solarSystem.region, 'Region'))) : null),
      fact('EVE time', h('time', { datetime: mail.killmailTime }, eve(at))),
      fact('Your time', localShort(at)),
      fact('Age', timeAge(mail.killmailTime)),
      fact('Damage taken', number(victim.damageTaken)),
      fact('Stored', timeAgo(mail.createdAt)),
      mail.sources.length ? fact('Came through', cameThrough(mail.sources)) : null),
    h('div', { class: 'report-foot' }, mail.users.length ? h('p', { class: 'report-ours' }, h('span', { class: 'soft' }, 'Ours on it: '),
      ...mail.users.map((/** @type {any} */ each) => h('a', {
        class: `chip ${each.role === 'VICTIM' ? 'loss' : 'kill'}`,
        href: dashboardAddress({ ...nothing(), pilot: each.user.characterId }),
      }, icon(each.role === 'VICTIM' ? 'loss' : 'kill'), each.user.characterName,
      h('span', { class: 'unseen' }, each.role === 'VICTIM' ? ', lost the ship' : ', shot at it')))) : null,
    h('p', { class: 'report-id' }, h('span', { class: 'soft' }, 'Killmail '), h('span', { class: 'mono' }, mail.id),
      copyButton(mail.id, 'Copy the id'), copyButton(location.href, 'Copy link to this page', 'Copy link'))));
}

/** How a mail came: through whose lists. @param {any[]} sources */
function cameThrough(sources) {
  const words = sources.map((each) => ({
    CHARACTER: `${nameOf(each.subject, 'Pilot')}’s list`,
    CORPORATION: `the list of ${nameOf(each.subject, 'Corporation')}`,
    ZKILLBOARD: 'zKillboard',
    IMPORT: 'imported files',
  })[/** @type {string} */ (each.kind)] ?? each.kind);
  const different = [...new Set(words)];
  return list(different.length > 4 ? [...different.slice(0, 3), `${number(different.length - 3)} more`] : different);
}

/** What of it is left, and what the value leaves out. @param {any} value */
function worth(value) {
  if (!value) return [h('p', { class: 'soft' }, 'Not valued yet')];
  const missing = value.unpriced.map((/** @type {any} */ each) => nameOf(each, 'Type'));
  return [
    h('p', { class: 'soft' }, iskSum(value.destroyed), ' destroyed, ', iskSum(value.dropped), ' dropped'),
    h('p', { class: 'soft' }, METHODS[value.method] ?? '', `, ${value.pricedOn}`),
    missing.length ? h('p', { class: 'unpriced', title: missing.join(', ') }, `Without ${plural(missing.length, 'type')} that ${missing.length === 1 ? 'has' : 'have'} no price`) : null,
  ].filter(Boolean);
}

const METHODS = /** @type {Record<string, string>} */ ({
  ESI_AVERAGE: 'EVE’s average prices', MARKET_HISTORY: 'Prices in Jita’s region', OVERRIDE: 'With prices set by hand', LATER: 'First prices known later',
});

/** @param {string} label @param {...any} value */
const fact = (label, ...value) => h('div', null, h('dt', null, label), h('dd', null, ...value));
