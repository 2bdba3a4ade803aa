// ISK and space, as players read them.

import { h } from './dom.js';
import { SPACE } from './filters.js';
import { isk, iskLong, nameOf } from './words.js';

/** @param {number|null|undefined} total @param {string} [className] */
export function iskMark(total, className = '') {
  if (total === null || total === undefined) return h('span', { class: `isk unknown ${className}`, title: 'Not valued yet' }, '–');
  return h('span', { class: `isk ${className}`, title: iskLong(total), data: { weight: weight(total) } }, isk(total), h('span', { class: 'unseen' }, ' ISK'));
}

/** Sums are large all of them: none stands out. @param {number} total */
export const iskSum = (total) => iskMark(total, 'plain-isk');

/** @param {number} total */
const weight = (total) => (total >= 1e10 ? 'huge' : total >= 1e9 ? 'high' : total >= 1e8 ? 'some' : '');

const SHORT = /** @type {Record<string, string>} */ ({ WORMHOLE: 'WH', ABYSSAL: 'Abyss', VOID: 'Void' });

/** The security of a system, in the colour of its class; nothing where it is not known. @param {any} system */
export function securityMark(system) {
  const { securityClass, security } = system;
  if (!securityClass) return null;
  const words = SPACE[securityClass] ?? securityClass.toLowerCase();
  return h('span', { class: 'security', title: words, data: { space: securityClass } },
    SHORT[securityClass] ?? security.toFixed(1), h('span', { class: 'unseen' }, `, ${words.toLowerCase()}`));
}

/** A system with its security. @param {any} system */
export const systemMark = (system) => [securityMark(system), ' ', nameOf(system, 'System')];
