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
 * Who lost or shot: the pilot, or whom a structure or an NPC belongs to.
 * @param {any} party a victim or an attacker
 */
export function partyName(party) {
  if (party.character) return nameOf(party.character, 'Pilot');
  return affiliation(party) || 'Unknown';
}

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
