// The dashboard begins here: which parts there are, and which of them is shown.

import { activityPanel } from './chart.js';
import { budgetsPanel } from './budgets.js';
import { feedPanel } from './feed.js';
import { footer, header } from './header.js';
import { gateView } from './gate.js';
import { h, mark } from './dom.js';
import { killmailView } from './killmail.js';
import { Live } from './live.js';
import { Mails } from './mails.js';
import { dashboardAddress, onRoute } from './router.js';
import { pilotsPanel } from './pilots.js';
import { nothing, same } from './filters.js';
import { statisticsView } from './statistics.js';
import { queuePanel } from './queue.js';
import { sourcesPanel } from './sources.js';
import { startClock } from './time.js';
import { State } from './state.js';
import { statusPanel } from './status.js';
import { webhooksPanel } from './webhooks.js';
import { welcomePanel } from './welcome.js';

const state = new State();
const mails = new Mails();
const live = new Live(state, mails);
const content = /** @type {HTMLElement} */ (document.getElementById('content'));

header(state, live);
footer(state);

const status = statusPanel(state);
const welcome = welcomePanel(state);
const columns = h('div', { class: 'columns' },
  h('div', { class: 'column' }, activityPanel(state), feedPanel(state, mails)),
  h('div', { class: 'column' }, pilotsPanel(state), sourcesPanel(state), budgetsPanel(state), queuePanel(state), webhooksPanel(state)));
const jumps = h('nav', { class: 'jumps', aria: { label: 'On this page' } },
  ...[['feed', 'Killmails'], ['pilots', 'Pilots'], ['esi', 'ESI'], ['queue', 'Queue']].map(([id, words]) =>
    h('a', { href: `#${id}` }, words)));
const dashboard = h('div', { class: 'dashboard' }, status, jumps, welcome, columns);
const report = killmailView(state);
const statistics = statisticsView(state);
const gate = gateView(() => live.connect());
content.replaceChildren(gate.node, dashboard, report.node, statistics.node);
welcome.hidden = true;

/** @type {import('./router.js').Route} */
let route = { view: 'dashboard', choice: nothing() };
/** Where the reader was on the dashboard. @type {{top: number, focus: Element|null, at: number}|null} */
let place = null;
history.scrollRestoration = 'manual';

function leave() {
  const focus = document.activeElement;
  place = { top: scrollY, focus, at: focus?.getBoundingClientRect().top ?? 0 };
}

/** Back to the same line, wherever new mails have moved it. */
function comeBack() {
  scrollTo(0, place?.top ?? 0);
  if (place?.focus instanceof HTMLElement && place.focus.isConnected && place.focus !== document.body) {
    place.focus.focus({ preventScroll: true });
    scrollBy(0, place.focus.getBoundingClientRect().top - place.at);
  } else focusOn(content);
  place = null;
}

function arrange() {
  const locked = state.get('link')?.state === 'locked';
  if (locked) gate.show();
  else gate.hide();
  dashboard.hidden = locked || route.view !== 'dashboard';
  report.node.hidden = locked || route.view !== 'killmail';
  statistics.node.hidden = locked || route.view !== 'statistics';
  for (const link of document.querySelectorAll('.nav')) mark(link, 'aria-current', route.view === 'statistics' ? 'page' : null);
}

onRoute((next) => {
  const before = route;
  if (next.view === 'unknown') {
    location.replace('#/');
    return;
  }
  route = next;
  if (next.view === 'killmail') {
    statistics.close();
    if (before.view === 'dashboard') leave();
    arrange();
    report.open(/** @type {string} */ (next.id));
    scrollTo(0, 0);
    if (before.view !== 'killmail' || before.id !== next.id) focusOn(report.node.querySelector('h1'));
    return;
  }
  report.close();
  if (next.view === 'statistics') {
    if (before.view === 'dashboard') leave();
    arrange();
    statistics.open(next.choice.pilot, next.days ?? 90);
    if (before.view !== 'statistics') {
      scrollTo(0, 0);
      focusOn(statistics.node.querySelector('h1'));
    }
    return;
  }
  statistics.close();
  arrange();
  if (before.view !== 'dashboard') {
    comeBack();
    const overview = state.get('overview');
    if (overview) state.set('overview', overview); // the title
  }
  const { choice } = next;
  if (!same(choice, mails.choice)) {
    if (state.get('link')?.state === 'up') mails.choose(choice);
    else mails.choice = choice;
  }
});

/** @param {Element|null} element */
function focusOn(element) {
  if (element instanceof HTMLElement) element.focus({ preventScroll: true });
}

state.on('link', () => {
  const was = !gate.node.hidden;
  arrange();
  if (was && gate.node.hidden) focusOn(content);
});
state.on('overview', (/** @type {import('./state.js').Overview} */ { users }) => {
  const first = !users.length;
  // Whoever logged out may have left mails behind: those are still worth a look.
  welcome.hidden = !first;
  columns.hidden = first && mails.loaded && !mails.items.length;
  jumps.hidden = columns.hidden;
});

addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || route.view === 'dashboard' || event.defaultPrevented) return;
  if (place && route.view === 'killmail') history.back();
  else location.hash = dashboardAddress(mails.choice);
});
report.node.addEventListener('click', (/** @type {MouseEvent} */ event) => {
  const link = /** @type {Element} */ (event.target).closest('a[data-back]');
  if (!link || !place || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.back(); // to the same filters, at the same place
});
document.getElementById('skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  focusOn(content);
  content.scrollIntoView();
});

startClock();
live.connect();
