// Who shot, by damage.

import { h } from './dom.js';
import { portrait, shipPicture } from './glyphs.js';
import { icon } from './icons.js';
import { affiliation, nameOf, number, partyName } from './words.js';

const SHOWN = 25;

/**
 * @param {any} mail
 * @param {boolean} images
 * @returns {HTMLElement}
 */
export function attackersPanel(mail, images) {
  const ours = new Set(mail.users.map((/** @type {any} */ each) => each.user.characterId));
  const sorted = [...mail.attackers].sort((one, other) => other.damageDone - one.damageDone || Number(other.finalBlow) - Number(one.finalBlow));
  const total = Math.max(1, sorted.reduce((sum, each) => sum + each.damageDone, 0));
  const most = Math.max(1, sorted[0]?.damageDone ?? 0);
  const rows = h('ol', { class: 'attackers' });
  const put = (/** @type {any[]} */ some) => rows.append(...some.map((each) => attacker(each, total, most, ours, images)));
  put(sorted.slice(0, SHOWN));
  const panel = h('section', { class: 'card', aria: { labelledby: 'attackers-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'attackers-title' }, 'Attackers'),
      h('p', { class: 'soft' }, `${number(mail.attackerCount)}, by damage`)), rows);
  // The one who struck the final blow may have done little: nobody should have to look for them.
  if (sorted.length > SHOWN) {
    const rest = sorted.slice(SHOWN);
    const final = rest.filter((each) => each.finalBlow);
    put(final);
    const more = h('button', { type: 'button', class: 'plain more' }, `Show ${number(rest.length - final.length)} more`);
    more.addEventListener('click', () => {
      rows.replaceChildren();
      put(sorted);
      more.remove();
      /** @type {HTMLElement} */ (rows.children[SHOWN]).focus();
    });
    panel.append(more);
  }
  return panel;
}

/**
 * @param {any} each
 * @param {number} total
 * @param {number} most
 * @param {Set<string>} ours
 * @param {boolean} images
 */
function attacker(each, total, most, ours, images) {
  const share = each.damageDone / total;
  const npc = !each.character;
  const percent = share > 0 && share < 0.001 ? '<0.1 %' : `${(share * 100).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;
  const flown = each.shipType ? nameOf(each.shipType, 'Ship') : '';
  const weapon = each.weaponType && each.weaponType.id !== each.shipType?.id ? nameOf(each.weaponType, 'Weapon') : '';
  const name = npc && each.shipType ? flown : partyName(each);
  return h('li', { class: 'attacker', tabindex: -1, data: { blow: String(each.finalBlow), ours: String(ours.has(each.character?.id)) } },
    npc ? shipPicture(each.shipType, images, 'initials npc') : portrait(each.character, images),
    h('div', { class: 'attacker-who' },
      h('p', { class: 'attacker-name' }, h('strong', null, name),
        each.finalBlow ? h('span', { class: 'tag blow' }, icon('blow'), 'Final blow') : null,
        ours.has(each.character?.id) ? h('span', { class: 'tag ours' }, 'Ours') : null,
        npc ? h('span', { class: 'tag' }, 'NPC') : null),
      h('p', { class: 'soft' }, affiliation(each)),
      h('p', { class: 'attacker-ship' }, npc ? '' : flown, !npc && flown && weapon ? h('span', { class: 'soft' }, ' · ') : '', weapon ? h('span', { class: 'soft' }, weapon) : '')),
    h('p', { class: 'attacker-damage' }, h('strong', null, number(each.damageDone)), h('span', { class: 'soft' }, percent)),
    h('div', { class: 'share', css: { '--part': each.damageDone / most }, aria: { hidden: 'true' } }));
}
