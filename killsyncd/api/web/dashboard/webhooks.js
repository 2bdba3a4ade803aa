// Where killmails go: how each webhook is, when it last delivered, what waits, and why nothing came.

import { Keyed, h, mark, refill, say } from './dom.js';
import { timeAgo, timeUntil } from './time.js';
import { number, plural } from './words.js';

/** @type {Record<string, string>} */
const STATES = {
  OK: 'Delivers',
  WAITING: 'Waits for static data',
  FAILING: 'Does not get through',
  PAUSED: 'Paused',
  STOPPED: 'Stopped',
  REFUSED: 'Its filter cannot be used',
};

/** @type {Record<string, string>} */
const KINDS = { discord: 'Discord', json: 'signed JSON', zkillboard: 'zKillboard' };

const BECAME = /** @type {Record<string, string>} */ ({
  delivered: 'went out',
  set_aside: 'set aside',
  left_out: 'left out',
  waiting: 'waits',
});

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function webhooksPanel(state) {
  const list = h('ul', { class: 'webhooks' });
  const panel = h('section', { class: 'card', id: 'webhooks', hidden: true, aria: { labelledby: 'webhooks-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'webhooks-title' }, 'Webhooks')), list);
  const rows = new Keyed(list, (/** @type {any} */ each) => each.name, webhook);
  state.on('overview', (/** @type {import('./state.js').Overview} */ { webhooks }) => {
    panel.hidden = !webhooks?.length;
    rows.show(webhooks ?? []);
  });
  return panel;
}

/** @param {any} first */
function webhook(first) {
  const how = h('span', { class: 'webhook-state' });
  const facts = h('p', { class: 'soft' });
  const why = h('p', { class: 'webhook-why', hidden: true });
  const remedy = h('p', { class: 'soft webhook-why', hidden: true });
  const last = h('ul', { class: 'webhook-last' });
  const details = h('details', null, h('summary', null, 'The last killmails, and why each went out or not'), last);
  const lines = new Keyed(last, (/** @type {any} */ each) => each.killmailId, verdict);
  return {
    node: h('li', { class: 'webhook' },
      h('div', { class: 'webhook-head' },
        h('span', { class: 'webhook-name' }, first.name), h('span', { class: 'soft' }, KINDS[first.kind] ?? first.kind), how),
      facts, why, remedy, details),
    update: (/** @type {any} */ each) => {
      say(how, each.replaying && each.state === 'OK' ? 'Sends once more' : STATES[each.state] ?? each.state);
      mark(how, 'data-state', each.state);
      refill(facts,
        `${number(each.delivered)} delivered`,
        each.lastDeliveredAt ? [', the last ', timeAgo(each.lastDeliveredAt)] : null,
        ` · ${number(each.waiting)} waiting`,
        each.setAside ? ` · ${plural(each.setAside, 'mail')} set aside` : null,
        each.nextAttemptAt ? [' · tried again ', timeUntil(each.nextAttemptAt)] : null);
      why.hidden = !each.reason;
      say(why, each.reason ?? '');
      remedy.hidden = !each.remedy;
      say(remedy, each.remedy ?? '');
      details.hidden = !each.last.length;
      lines.show(each.last);
    },
  };
}

/** @param {any} first */
function verdict(first) {
  const words = h('span', { class: 'soft' });
  return {
    node: h('li', null, h('a', { href: `#/killmail/${first.killmailId}` }, first.killmailId), ' ', words),
    update: (/** @type {any} */ each) => {
      const became = BECAME[each.became] ?? each.became;
      say(words, each.became === 'delivered' ? became : `${became}: ${each.why}`);
    },
  };
}
