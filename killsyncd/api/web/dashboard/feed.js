// The live feed: mails as they arrive, newest first.

import { Keyed, announce, h, mark, refill, say } from './dom.js';
import { filterBar } from './filterbar.js';
import { narrows } from './filters.js';
import { shipPicture } from './glyphs.js';
import { icon } from './icons.js';
import { sideOf } from './mails.js';
import { killmailAddress } from './router.js';
import { timeAgo } from './time.js';
import { iskMark, systemMark } from './values.js';
import { affiliation, list, nameOf, number, partyName, plural } from './words.js';

const HIGHLIGHT = 12_000;
const SPEAK_EVERY = 8000;
const BONES = 6;

/** @type {Record<string, [any, string]>} */
export const SIDES = {
  kill: ['kill', 'Kill'],
  loss: ['loss', 'Loss'],
  both: ['both', 'Both sides'],
  none: ['other', 'Other'],
};

/**
 * @param {import('./state.js').State} state
 * @param {import('./mails.js').Mails} mails
 * @returns {HTMLElement}
 */
export function feedPanel(state, mails) {
  const items = h('ol', { class: 'mails', aria: { label: 'Killmails, newest first' } });
  const older = h('button', { type: 'button', class: 'button more' }, 'Load older');
  const empty = h('div', { class: 'empty', hidden: true });
  const failed = h('div', { class: 'note bad', hidden: true });
  const waiting = h('button', { type: 'button', class: 'arrivals', hidden: true });
  const pause = h('button', { type: 'button', class: 'plain', aria: { pressed: 'false' } });
  const { node: filters, more: moreFilters, show: showFilters } = filterBar(state, mails);
  const panel = h('section', { class: 'card feed', id: 'feed', aria: { labelledby: 'feed-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'feed-title' }, 'Killmails'), filters, pause),
    moreFilters, waiting, failed, items, empty, older);
  const rows = new Keyed(items, (/** @type {any} */ each) => each.id, (each) => mailRow(state, mails, each));
  let paused = false;
  /** @type {string|null} the uppermost mail, while newer ones wait */
  let heldAt = null;
  /** @type {string|null} */
  let top = null;

  const reading = () => paused || items.contains(document.activeElement) ||
    (items.getBoundingClientRect().top < -40 && !panel.closest('[hidden]'));
  mails.mayTrim = () => !reading();

  const show = () => {
    // Nothing moves under somebody's eyes or focus: newer ones wait until they are asked for.
    if (!reading()) heldAt = null;
    else heldAt ??= top;
    const from = Math.max(0, mails.items.findIndex((each) => each.id === heldAt));
    const shown = mails.items.slice(from);
    top = shown[0]?.id ?? null;
    rows.show(shown);
    waiting.hidden = !from;
    refill(waiting, icon('up'), `${plural(from, 'new killmail')}`);
    showBones(items, !mails.loaded && !mails.error);
    older.hidden = !mails.more || !mails.loaded;
    mark(older, 'aria-disabled', mails.loading ? 'true' : null);
    say(older, mails.loading ? 'Loading …' : 'Load older');
    empty.hidden = !mails.loaded || mails.items.length > 0 || mails.loading;
    if (!empty.hidden) refill(empty, ...emptyWords(state, mails));
    failed.hidden = !mails.error;
    if (mails.error) refill(failed, `The list could not be loaded: ${mails.error.message}. `, retryButton(mails));
    showFilters();
  };
  const showPause = () => {
    refill(pause, icon(paused ? 'play' : 'pause'), h('span', { class: 'wide' }, 'Hold'));
    mark(pause, 'aria-pressed', String(paused));
    mark(pause, 'aria-label', 'Hold the killmails still');
    mark(pause, 'title', paused ? 'Show new killmails as they arrive' : 'Hold the killmails still: new ones wait');
  };
  pause.addEventListener('click', () => {
    paused = !paused;
    showPause();
    show();
  });
  waiting.addEventListener('click', () => {
    heldAt = top = mails.items[0]?.id ?? null;
    show();
    panel.scrollIntoView({ block: 'start' });
    /** @type {HTMLElement|null} */ (items.querySelector('a'))?.focus({ preventScroll: true });
  });
  const release = () => waiting.hidden || setTimeout(show, 50);
  items.addEventListener('focusout', release);
  addEventListener('scroll', release, { passive: true });
  older.addEventListener('click', () => mails.loadMore());
  mails.onChange = show;
  mails.onArrival = speaker();
  state.on('overview', () => mails.loaded && !mails.items.length && show());
  showPause();
  show();
  return panel;
}

/**
 * Tells screen readers what came, now and then and in one sentence.
 * @returns {(mail: any) => void}
 */
function speaker() {
  /** @type {any[]} */
  let unsaid = [];
  /** @type {any} */
  let timer;
  return (mail) => {
    unsaid.push(mail);
    timer ??= setTimeout(() => {
      const last = unsaid[unsaid.length - 1];
      const what = `${SIDES[sideOf(last)][1]}: ${nameOf(last.victim.shipType, 'Ship')}, ${partyName(last.victim)}, in ${nameOf(last.solarSystem, 'System')}`;
      announce(unsaid.length > 1 ? `${number(unsaid.length)} new killmails. ${what}` : `New killmail. ${what}`);
      unsaid = [];
      timer = undefined;
    }, SPEAK_EVERY);
  };
}

/**
 * @param {import('./state.js').State} state
 * @param {import('./mails.js').Mails} mails
 * @param {any} first
 */
function mailRow(state, mails, first) {
  const node = h('li', { class: 'mail' });
  if (first.arrivedAt && Date.now() - first.arrivedAt < HIGHLIGHT) {
    node.classList.add('arrived');
    setTimeout(() => node.classList.remove('arrived'), HIGHLIGHT);
  }
  let told = '';
  return {
    node,
    update: (/** @type {any} */ mail) => {
      // A mail never changes, but its names get known, and its value.
      const text = `${mail.asked ?? 0} ${mails.choice.pilot} ${mail.value?.total}`;
      if (text === told) return;
      const focused = node.contains(document.activeElement);
      told = text;
      const side = sideOf(mail, mails.choice.pilot);
      node.dataset.side = side;
      refill(node, ...mailParts(mail, side, Boolean(state.get('session')?.images)));
      if (focused) /** @type {HTMLElement|null} */ (node.querySelector('a'))?.focus();
    },
  };
}

/** @param {any} mail @param {string} side @param {boolean} images */
function mailParts(mail, side, images) {
  const [picture, word] = SIDES[side];
  const blow = mail.finalBlow;
  const others = mail.attackerCount - 1;
  const oursBlow = mail.users.some((/** @type {any} */ each) => each.user.characterId === blow?.character?.id);
  const ours = mail.users
    .filter((/** @type {any} */ each) => each.role === 'ATTACKER' && each.user.characterId !== blow?.character?.id)
    .map((/** @type {any} */ each) => each.user.characterName);
  const ship = h('strong', { class: mail.victim.shipType.name ? '' : 'unnamed' }, nameOf(mail.victim.shipType, 'Ship'));
  return [
    h('span', { class: 'mail-side' }, icon(picture), h('span', null, word)),
    shipPicture(mail.victim.shipType, images, 'mail-ship'),
    h('div', { class: 'mail-words' },
      h('p', { class: 'mail-title' },
        h('a', { href: killmailAddress(mail.id) },
          h('span', { class: 'mail-what' }, ship, ' ', h('span', { class: 'mail-victim' }, partyName(mail.victim))),
          mail.victim.character && affiliation(mail.victim) ? [' ', h('span', { class: 'mail-corp' }, affiliation(mail.victim))] : null),
        ...tags(mail)),
      h('p', { class: 'mail-more' },
        blow ? h('span', null, 'by ', h('span', { class: oursBlow ? 'mail-ours' : '' }, partyName(blow)), flown(blow),
          others > 0 ? ` and ${plural(others, 'other')}` : '') : plural(mail.attackerCount, 'attacker'),
        ours.length ? h('span', null, ' · with ', h('span', { class: 'mail-ours' }, list(some(ours)))) : null)),
    h('p', { class: 'mail-value' }, iskMark(mail.value?.total),
      mail.victim.shipType.group?.name ? h('span', { class: 'mail-class' }, mail.victim.shipType.group.name) : null),
    h('p', { class: 'mail-where' },
      h('span', { class: 'mail-system' }, ...systemMark(mail.solarSystem)),
      h('span', { class: 'mail-when soft' },
        mail.solarSystem.region?.name ? [h('span', { class: 'mail-region' }, mail.solarSystem.region.name), ' · '] : null, timeAgo(mail.killmailTime))),
  ];
}

/** What somebody shot from, unless that is what they are called by. @param {any} blow */
const flown = (blow) => (blow.shipType && partyName(blow) !== nameOf(blow.shipType, 'Ship') ? ` in ${nameOf(blow.shipType, 'ship')}` : '');

/** @param {string[]} names */
const some = (names) => (names.length > 3 ? [...names.slice(0, 2), `${names.length - 2} more of ours`] : names);

/** Short marks of what is special. @param {any} mail */
export function tags(mail) {
  return [
    mail.fresh ? h('span', { class: 'tag fresh', title: 'Listed within an hour of the kill' }, 'Fresh') : null,
    mail.solo ? h('span', { class: 'tag', title: 'One player alone killed another' }, 'Solo') : null,
    mail.npc ? h('span', { class: 'tag', title: 'No attacker was a player' }, 'NPC') : null,
    mail.warId ? h('span', { class: 'tag', title: `War ${mail.warId}` }, 'War') : null,
  ].filter(Boolean);
}

/** Places for what is on its way. @param {HTMLElement} items @param {boolean} wanted */
function showBones(items, wanted) {
  const bones = items.querySelectorAll('.mail-bone');
  if (wanted && !items.children.length) {
    for (let each = 0; each < BONES; each++) {
      items.append(h('li', { class: 'mail mail-bone', aria: { hidden: 'true' } },
        h('span', { class: 'bone', css: { '--w': '3rem' } }), h('span', { class: 'bone round' }),
        h('span', { class: 'bone', css: { '--w': `${11 + ((each * 5) % 7)}rem` } })));
    }
  } else if (!wanted) for (const bone of bones) bone.remove();
}

/** @param {import('./state.js').State} state @param {import('./mails.js').Mails} mails */
function emptyWords(state, mails) {
  const overview = state.get('overview');
  const name = overview?.users.find((/** @type {any} */ each) => each.characterId === mails.choice.pilot)?.characterName;
  if (narrows(mails.choice)) {
    return [h('p', null, 'No killmail is like this.'), h('p', null, h('a', { href: '#/' }, 'Show everything'))];
  }
  if (mails.choice.pilot || mails.choice.side !== 'all') {
    const what = mails.choice.side === 'all' ? 'killmails' : mails.choice.side;
    return [h('p', null, `No ${what}${mails.choice.pilot ? ` of ${name ?? 'this pilot'}` : ''} here.`),
      h('p', null, h('a', { href: '#/' }, 'Show everything'))];
  }
  const busy = overview?.status.pendingDetails || overview?.queues[0]?.messageCount;
  return busy
    ? [h('p', null, h('strong', null, 'The first killmails are on their way.')), h('p', { class: 'soft' }, 'They show up here by themselves.')]
    : [h('p', null, h('strong', null, 'Nothing yet.')),
      h('p', { class: 'soft' }, 'ESI lists a pilot’s losses and final blows of the last 90 days. New ones show up here within minutes of the fight.')];
}

/** @param {import('./mails.js').Mails} mails */
function retryButton(mails) {
  const button = h('button', { type: 'button', class: 'plain' }, 'Try again');
  button.addEventListener('click', () => (mails.loaded ? mails.loadMore() : mails.reload()));
  return button;
}
