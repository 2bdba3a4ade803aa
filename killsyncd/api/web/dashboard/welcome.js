// What somebody sees who has just installed it: nobody is logged in yet.

import { command, remedy } from './commands.js';
import { h, refill } from './dom.js';
import { loginButton } from './header.js';

/** @param {import('./state.js').State} state @returns {HTMLElement} */
export function welcomePanel(state) {
  const typed = h('span', null, command('killsyncd login'));
  let told = 'killsyncd login';
  state.on('overview', ({ status }) => {
    const problem = status.problems.find((/** @type {any} */ each) => each.code === 'nobody_logged_in');
    if (!problem || problem.remedy === told) return;
    told = problem.remedy;
    refill(typed, ...remedy(told));
  });
  const step = (/** @type {string} */ title, /** @type {...any} */ ...words) =>
    h('li', null, h('h3', null, title), h('p', { class: 'soft' }, ...words));
  return h('section', { class: 'card welcome', aria: { labelledby: 'welcome-title' } },
    h('h2', { id: 'welcome-title' }, 'Welcome, capsuleer'),
    h('p', { class: 'lead' }, 'Log in one pilot, and every loss and final blow that EVE still lists for them comes here; from then on new ones follow by themselves.'),
    h('p', { class: 'welcome-actions' }, loginButton('Log in with EVE Online'),
      h('span', { class: 'soft' }, 'or, in a terminal, ', typed)),
    h('ol', { class: 'steps' },
      step('EVE asks you', 'You choose the character on EVE’s own page. killsyncd never sees your password.'),
      step('The history comes', 'The losses and final blows of the last 90 days, as fast as ESI allows. EVE lists a killmail to the victim and the final blow alone, not to who only helped.'),
      step('It stays in sync', 'The login is renewed by itself and kept encrypted on this machine. You can take it back at any time.')));
}
