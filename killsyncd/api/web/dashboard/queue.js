// What waits to be done: jobs by priority, killmails to fetch, the rounds that queue everybody.

import { Keyed, h, refill, say } from './dom.js';
import { duration, timeAgo, timeUntil } from './time.js';
import { number, plural } from './words.js';

/** @type {[number, string][]} */
const KNOWN = [
  [8, 'After a login'],
  [5, 'By hand'],
  [3, 'Background'],
];

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function queuePanel(state) {
  const lanes = h('ul', { class: 'lanes' });
  const consumers = h('span', { class: 'soft' });
  const facts = h('dl', { class: 'facts' });
  const fact = (/** @type {string} */ label) => {
    const value = h('dd');
    facts.append(h('div', null, h('dt', null, label), value));
    return value;
  };
  const details = fact('Killmails to fetch');
  const aside = fact('Set aside');
  const last = fact('Last round');
  const next = fact('Next round');
  const panel = h('section', { class: 'card', id: 'queue', aria: { labelledby: 'queue-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'queue-title' }, 'Queue'), consumers), lanes, facts);
  const rows = new Keyed(lanes, (/** @type {any} */ each) => String(each.priority), lane);

  state.on('overview', (/** @type {import('./state.js').Overview} */ { status, queues }) => {
    const queue = queues[0];
    panel.title = queue?.queueName ?? '';
    const counts = new Map((queue?.byPriority ?? []).map((/** @type {any} */ each) => [each.priority, each.count]));
    const names = new Map(KNOWN);
    for (const priority of counts.keys()) if (!names.has(priority)) names.set(priority, 'Other');
    const most = Math.max(1, ...counts.values());
    rows.show([...names].sort(([one], [other]) => other - one)
      .map(([priority, label]) => ({ priority, label, count: counts.get(priority) ?? 0, most })));
    say(consumers, queue ? `${plural(queue.messageCount, 'job')} · ${plural(queue.consumerCount, 'consumer')}` : '');

    const pending = [number(status.pendingDetails)];
    if (status.pendingDetails && status.pendingEta !== null) pending.push(`, about ${duration(status.pendingEta)}`);
    refill(details, ...pending, status.oldestPendingAt
      ? h('span', { class: 'soft' }, ' · oldest listed ', timeAgo(status.oldestPendingAt)) : null);
    refill(aside, number(status.quarantined), status.quarantined
      ? h('span', { class: 'soft' }, ' · ', h('code', null, 'killsyncd ctl failed'), ' shows why') : null);
    if (status.producerRunning) refill(last, 'running now');
    else if (status.lastProducerRun) {
      refill(last, timeAgo(status.lastProducerRun), h('span', { class: 'soft' }, ` · ${plural(status.lastProducerQueued, 'list')} queued`));
    } else refill(last, 'none yet');
    if (!status.producerEnabled) refill(next, 'off in the configuration');
    else if (status.nextProducerRun) refill(next, timeUntil(status.nextProducerRun));
    else refill(next, '–');
  });
  return panel;
}

/** @param {{priority: number, label: string, count: number, most: number}} first */
function lane(first) {
  const count = h('span', { class: 'lane-count' });
  const bar = h('span', { class: 'lane-bar', aria: { hidden: 'true' } });
  const node = h('li', { class: 'lane' },
    h('span', { class: 'lane-name' }, first.label, h('span', { class: 'soft' }, ` · priority ${first.priority}`)), count, bar);
  return {
    node,
    update: (/** @type {{count: number, most: number}} */ { count: value, most }) => {
      say(count, number(value));
      bar.style.setProperty('--part', String(value / most));
      node.classList.toggle('idle', value === 0);
    },
  };
}
