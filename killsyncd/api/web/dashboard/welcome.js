// What somebody sees who has just installed it: nobody is logged in yet.

import { command } from './commands.js';
import { h } from './dom.js';
import { loginButton } from './header.js';

/** @returns {HTMLElement} */
export function welcomePanel() {
  const step = (/** @type {string} */ title, /** @type {...any} */ ...words) =>
    h('li', null, h('h3', null, title), h('p', { class: 'soft' }, ...words));
  return h('section', { class: 'card welcome', aria: { labelledby: 'welcome-title' } },
    h('h2', { id: 'welcome-title' }, 'Welcome, capsuleer'),
    h('p', { class: 'lead' }, 'Log in one pilot, and every killmail of theirs that EVE still lists comes here; from then on new ones follow by themselves.'),
    h('p', { class: 'welcome-actions' }, loginButton('Log in with EVE Online'),
      h('span', { class: 'soft' }, 'or, in a terminal, ', command('killsyncd login'))),
    h('ol', { class: 'steps' },
      step('EVE asks you', 'You choose the character on EVE’s own page. killsyncd never sees your password.'),
      step('The history comes', 'The kills and losses of the last 90 days, as fast as ESI allows. You can watch them arrive.'),
      step('It stays in sync', 'The login is renewed by itself and kept encrypted on this machine. You can take it back at any time.')));
}
