// Small words: numbers, plurals, names that may not be known yet.

const NUMBER = new Intl.NumberFormat(undefined);
const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** With separators. @param {number} value */
export const number = (value) => NUMBER.format(value);

/** 12.3K, 4.5M. @param {number} value */
export const compact = (value) => (Math.abs(value) < 10_000 ? NUMBER.format(value) : COMPACT.format(value));

/**
 * `1 mail`, `12 mails`.
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many ?? `${one}s`}`;

/**
 * An entity's name; until it is resolved, its id.
 * @param {{id: string, name: string|null}|null|undefined} entity
 * @param {string} kind what it is, when there is no name
 */
export function nameOf(entity, kind) {
  if (!entity) return '';
  return entity.name ?? `${kind} ${entity.id}`;
}

/**
 * Who lost or shot: the pilot, or whom a structure or an NPC belongs to; an NPC of nobody is what it flies.
 * @param {any} party a victim or an attacker
 */
export function partyName(party) {
  if (party.character) return nameOf(party.character, 'Pilot');
  return affiliation(party) || nameOf(party.shipType, 'Ship') || 'Unknown';
}

const UNITS = /** @type {const} */ ([[1e12, 't'], [1e9, 'b'], [1e6, 'm'], [1e3, 'k']]);

/** ISK as players write it: 1.24b, 850m, 12.5k. @param {number} value */
export function isk(value) {
  for (const [size, unit] of UNITS) {
    // What rounds to the next unit is written in it: 1b, not 1000m.
    if (Math.abs(value) < size * 0.9995) continue;
    const digits = Math.abs(value / size);
    return `${trimmed((value / size).toFixed(digits >= 99.95 ? 0 : digits >= 9.995 ? 1 : 2))}${unit}`;
  }
  return trimmed(value.toFixed(Math.abs(value) < 10 && value % 1 ? 2 : 0));
}

/** @param {string} text */
const trimmed = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

/** All of it, for a tooltip. @param {number} value */
export const iskLong = (value) => `${NUMBER.format(Math.round(value))} ISK`;

/** A part of a whole. @param {number|null} part */
export const percent = (part) => (part === null ? '–' : `${(part * 100).toFixed(part > 0.0005 && part < 0.9995 ? 1 : 0)} %`);

/** Corporation and alliance, or the faction. @param {any} party */
export function affiliation(party) {
  const corporation = nameOf(party.corporation, 'Corporation');
  const above = party.alliance ? nameOf(party.alliance, 'Alliance') : nameOf(party.faction, 'Faction');
  return [corporation, above].filter(Boolean).join(' · ');
}

/** @param {string[]} names */
export function list(names) {
  if (names.length < 2) return names[0] ?? '';
  return `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`;
}
