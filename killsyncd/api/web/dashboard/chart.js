// Kills and losses of each day: kills stand above the line, losses hang below it.

import { h, mark, refill, say, svg } from './dom.js';
import { day, longDay } from './time.js';
import { isk, number, plural } from './words.js';

const HEIGHT = 148;
const TOP = 8;
const BOTTOM = 22;
const LEFT = 34;
const GAP = 0.28;
const WIDEST = 18;
const LEAST = 3; // of the scale: a single kill is no tower

/** @typedef {{day: string, kills: number, losses: number, iskDestroyed: number, iskLost: number}} Day */
/** What the columns stand for. @typedef {{up: (each: Day) => number, down: (each: Day) => number, words: (value: number) => string}} Measure */

/** @type {Record<string, Measure>} */
const MEASURES = {
  count: { up: (each) => each.kills, down: (each) => each.losses, words: number },
  isk: { up: (each) => each.iskDestroyed, down: (each) => each.iskLost, words: isk },
};

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function activityPanel(state) {
  const picture = svg('svg', { class: 'chart', height: HEIGHT, aria: { hidden: 'true' }, focusable: 'false' });
  const slider = h('input', { type: 'range', min: 0, max: 29, value: 29, class: 'chart-slider', aria: { label: 'Day' } });
  const readout = h('p', { class: 'chart-readout' });
  const totals = h('p', { class: 'chart-totals' });
  const body = h('tbody');
  const table = h('details', { class: 'chart-table' }, h('summary', null, 'As a table'),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', aria: { label: 'Kills and losses of each day' } },
      h('table', null, h('caption', { class: 'unseen' }, 'Kills and losses of each day (UTC)'),
        h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Day'),
          h('th', { scope: 'col', class: 'end' }, 'Kills'), h('th', { scope: 'col', class: 'end' }, 'Losses'),
          h('th', { scope: 'col', class: 'end' }, 'Destroyed'), h('th', { scope: 'col', class: 'end' }, 'Lost'))), body)));
  let measure = 'count';
  const buttons = [['count', 'Count'], ['isk', 'ISK']].map(([name, words]) => {
    const node = h('button', { type: 'button', class: 'segment', aria: { pressed: String(name === measure) } }, words);
    node.addEventListener('click', () => {
      measure = name;
      for (const each of buttons) mark(each.node, 'aria-pressed', String(each.name === name));
      draw();
    });
    return { name, node };
  });
  const frame = h('div', { class: 'chart-frame' }, picture, slider);
  const panel = h('section', { class: 'card', id: 'activity', aria: { labelledby: 'activity-title' } },
    h('div', { class: 'card-head' }, h('h2', { id: 'activity-title' }, 'Last 30 days'), totals,
      h('div', { class: 'segments', role: 'group', aria: { label: 'Columns show' } }, ...buttons.map((each) => each.node))), frame,
    h('div', { class: 'chart-foot' }, readout, table));
  /** @type {Day[]} */
  let days = [];
  let chosen = -1;

  const draw = () => {
    if (!days.length) return;
    paint(picture, days, frame.clientWidth, chosen, MEASURES[measure]);
    const each = days[chosen < 0 ? days.length - 1 : chosen];
    const when = chosen < 0 ? 'Today' : longDay(Date.parse(each.day));
    const worth = each.iskDestroyed || each.iskLost ? ` · ${isk(each.iskDestroyed)} destroyed, ${isk(each.iskLost)} lost` : '';
    const words = `${when}: ${plural(each.kills, 'kill')}, ${plural(each.losses, 'loss', 'losses')}${worth}`;
    say(readout, words);
    mark(slider, 'aria-valuetext', words);
  };
  const choose = (/** @type {number} */ index) => {
    chosen = index;
    draw();
  };
  slider.addEventListener('input', () => choose(Number(slider.value)));
  slider.addEventListener('focus', () => choose(Number(slider.value)));
  slider.addEventListener('blur', () => choose(-1));
  frame.addEventListener('pointermove', (/** @type {PointerEvent} */ event) => {
    const box = picture.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * days.length);
    if (index >= 0 && index < days.length && index !== chosen) choose(index);
  });
  frame.addEventListener('pointerleave', () => choose(-1));
  new ResizeObserver(draw).observe(frame);

  state.on('activity', (/** @type {{days?: Day[], error?: Error}} */ known) => {
    panel.classList.toggle('failed', Boolean(known.error));
    if (!known.days) {
      say(readout, known.error ? `The counts could not be loaded: ${known.error.message}.` : '');
      return;
    }
    days = known.days;
    mark(slider, 'max', days.length - 1);
    if (document.activeElement !== slider) slider.value = String(days.length - 1);
    const kills = sum(days, 'kills');
    const losses = sum(days, 'losses');
    refill(totals, key('kill'), h('span', null, plural(kills, 'kill')), key('loss'), h('span', null, plural(losses, 'loss', 'losses')));
    refill(body, ...[...days].reverse().map((each) => h('tr', null, h('th', { scope: 'row' }, longDay(Date.parse(each.day))),
      h('td', { class: 'end' }, number(each.kills)), h('td', { class: 'end' }, number(each.losses)),
      h('td', { class: 'end' }, isk(each.iskDestroyed)), h('td', { class: 'end' }, isk(each.iskLost)))));
    draw();
  });
  return panel;
}

/** @param {string} side */
const key = (side) => h('span', { class: `key ${side}`, aria: { hidden: 'true' } });

/** @param {Day[]} days @param {'kills'|'losses'} which */
const sum = (days, which) => days.reduce((total, each) => total + each[which], 0);

/**
 * The next round number: 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20 and so on.
 * @param {number} value
 */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  const steps = power === 1 ? [1, 2, 3, 4, 5, 6, 8, 10] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
  return power * (/** @type {number} */ (steps.find((each) => each * power >= value)));
}

/**
 * @param {SVGElement} picture
 * @param {Day[]} days
 * @param {number} width
 * @param {number} chosen index of the day that is pointed at, or -1
 * @param {Measure} measure
 */
function paint(picture, days, width, chosen, measure) {
  if (width < 60) return;
  mark(picture, 'width', width);
  mark(picture, 'viewBox', `0 0 ${width} ${HEIGHT}`);
  const up = roundUp(Math.max(LEAST, ...days.map(measure.up)));
  const down = roundUp(Math.max(LEAST, ...days.map(measure.down)));
  const room = HEIGHT - TOP - BOTTOM;
  const scale = room / (up + down);
  const zero = TOP + up * scale;
  const step = (width - LEFT) / days.length;
  const bar = Math.min(WIDEST, step * (1 - GAP));
  const x = (/** @type {number} */ index) => LEFT + index * step + (step - bar) / 2;
  const line = (/** @type {number} */ y, /** @type {string} */ name) =>
    svg('line', { x1: LEFT, x2: width, y1: y, y2: y, class: name });
  const label = (/** @type {number} */ y, /** @type {string} */ text) =>
    svg('text', { x: LEFT - 7, y: y + 3.5, 'text-anchor': 'end', class: 'chart-label' }, text);
  const every = Math.max(1, Math.ceil(62 / step));
  picture.replaceChildren(
    line(TOP, 'chart-grid'), line(TOP + room, 'chart-grid'),
    label(TOP + 2, measure.words(up)), label(zero, '0'), label(TOP + room - 1, measure.words(down)),
    ...(chosen >= 0 ? [svg('rect', { x: LEFT + chosen * step, y: TOP, width: step, height: room, class: 'chart-chosen' })] : []),
    ...days.map((each, index) => column('kill', x(index), zero - measure.up(each) * scale, bar, measure.up(each) * scale, measure.up(each))),
    ...days.map((each, index) => column('loss', x(index), zero, bar, measure.down(each) * scale, measure.down(each))),
    line(zero, 'chart-zero'),
    ...days.flatMap((each, index) => ((days.length - 1 - index) % every ? [] : [svg('text', {
      x: index === days.length - 1 ? width : x(index) + bar / 2, y: HEIGHT - 5, 'text-anchor': index === days.length - 1 ? 'end' : 'middle', class: 'chart-label',
    }, day(Date.parse(each.day)))])),
  );
}

/**
 * @param {string} side @param {number} x @param {number} y @param {number} width
 * @param {number} height @param {number} count
 */
function column(side, x, y, width, height, count) {
  if (!count) return svg('g');
  const tall = Math.max(2, height);
  return svg('rect', { x: x.toFixed(1), y: (side === 'kill' ? y - (tall - height) : y).toFixed(1), width: width.toFixed(1), height: tall.toFixed(1), rx: Math.min(2, width / 3), class: `chart-${side}` });
}
