// Remedies are sentences with commands in them: these find the commands, so that each can be copied.

import { announce, h } from './dom.js';
import { icon } from './icons.js';

const VERBS = 'run|check|login|export|import|backup|restore|rotate-key|migrate-store';
const CTL = 'status|queue|users|sources|webhooks|watch|pause|resume|failed|retry|verify|explain|logout|login-url';
const WHICH = '(?: --(?:config|socket) [^\\s;,]*[^\\s;,.])?'; // of several daemons
const COMMAND = new RegExp(
  `(?:[\\w./-]*/)?killsyncd (?:(?:${VERBS})${WHICH}|ctl${WHICH} (?:${CTL}))` +
    '(?: (?:--(?:user|corporation) [^\\s,;.]+|--(?:producer|force|full|quiet|paste)|\\d+))*' +
    `|(?:sudo )?killsyncd-maintain (?:${VERBS})` +
    '|(?:sudo )?systemctl (?:--user )?(?:start|stop|restart) killsyncd[\\w@-]*' +
    '|(?:sudo )?journalctl (?:--user )?-u [\\w@-]+(?:\\.service)?' +
    '|timedatectl set-ntp true',
  'g',
);

/**
 * A text in parts: plain ones and commands.
 * @param {string} text
 * @returns {{text: string, command: boolean}[]}
 */
export function parts(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(COMMAND)) {
    if (match.index > end) found.push({ text: text.slice(end, match.index), command: false });
    found.push({ text: match[0], command: true });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end), command: false });
  return found;
}

/** A remedy, its commands ready to be copied. @param {string} text @returns {Node[]} */
export function remedy(text) {
  return parts(text).map((each) => (each.command ? command(each.text) : document.createTextNode(each.text)));
}

/** @param {string} text */
export function command(text) {
  return h('span', { class: 'command' }, h('code', null, text), copyButton(text, `Copy the command ${text}`));
}

/**
 * A button that copies something.
 * @param {string} text
 * @param {string} label
 * @param {string} [caption] shown beside the icon
 * @returns {HTMLButtonElement}
 */
export function copyButton(text, label, caption = '') {
  const words = h('span', { class: caption ? '' : 'unseen' }, caption || 'Copy');
  const button = h('button', { type: 'button', class: 'copy', title: label, aria: { label } }, icon('copy'), words);
  button.addEventListener('click', async () => {
    const done = await copy(text);
    button.classList.toggle('copied', done);
    announce(done ? 'Copied.' : 'This browser does not let me copy.');
    button.replaceChildren(icon(done ? 'check' : 'alert'), words);
    setTimeout(() => {
      button.classList.remove('copied');
      button.replaceChildren(icon('copy'), words);
    }, 1600);
  });
  return button;
}

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyTheOldWay(text); // pages from other machines without TLS have no clipboard
  }
}

/** @param {string} text */
function copyTheOldWay(text) {
  const field = h('textarea', { class: 'unseen', readonly: true, tabindex: -1, aria: { hidden: 'true' } });
  field.value = text;
  const focused = /** @type {HTMLElement|null} */ (document.activeElement);
  document.body.append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  focused?.focus();
  return done;
}
