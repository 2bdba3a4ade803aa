// Where the daemon wants its token before it tells anything.

import { h, mark, say } from './dom.js';
import { Refused, unlock } from './graphql.js';
import { icon } from './icons.js';

/**
 * @param {() => void} onOpen called once the token was taken
 * @returns {{node: HTMLElement, show: () => void, hide: () => void}}
 */
export function gateView(onOpen) {
  const field = h('input', {
    type: 'password', id: 'token', name: 'token', required: true, autocomplete: 'current-password',
    autocapitalize: 'off', spellcheck: 'false', aria: { describedby: 'token-help token-wrong' },
  });
  const wrong = h('p', { class: 'wrong', id: 'token-wrong', role: 'alert' });
  const button = h('button', { type: 'submit', class: 'button primary' }, icon('lock'), h('span', null, 'Unlock'));
  const form = h('form', { method: 'post', action: 'session' },
    h('label', { for: 'token' }, 'Token'), field, wrong, button);
  const node = h('section', { class: 'card gate', hidden: true, aria: { labelledby: 'gate-title' } },
    h('h1', { id: 'gate-title', tabindex: -1 }, 'This daemon asks for its token'),
    h('p', { class: 'soft', id: 'token-help' }, 'It is the content of the file that the configuration names: ',
      h('code', null, '[api] token_file'), '. This browser then remembers that it was shown, not the token itself.'), form);
  form.addEventListener('submit', async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    say(wrong, '');
    mark(field, 'aria-invalid', null);
    try {
      await unlock(field.value);
      field.value = '';
      onOpen();
    } catch (error) {
      say(wrong, error instanceof Refused ? error.message : `That did not work: ${/** @type {Error} */ (error).message}.`);
      mark(field, 'aria-invalid', error instanceof Refused ? 'true' : null);
      field.select();
      field.focus();
    } finally {
      button.disabled = false;
    }
  });
  return {
    node,
    show: () => {
      if (!node.hidden) return;
      node.hidden = false;
      field.focus();
    },
    hide: () => {
      node.hidden = true;
    },
  };
}
