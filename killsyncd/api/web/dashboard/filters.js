// What the list can be narrowed by, and how that is asked of the daemon.

/** What a search finds and a filter takes: by its name in the address, what it is, and its field. */
export const CONDITIONS = /** @type {const} */ ({
  character: { kind: 'CHARACTER', words: 'Pilot', field: 'characterId' },
  corporation: { kind: 'CORPORATION', words: 'Corporation', field: 'corporationId' },
  alliance: { kind: 'ALLIANCE', words: 'Alliance', field: 'allianceId' },
  ship: { kind: 'TYPE', words: 'Ship lost', field: 'shipTypeId' },
  group: { kind: 'GROUP', words: 'Class', field: 'shipGroupId' },
  system: { kind: 'SYSTEM', words: 'System', field: 'solarSystemId' },
  region: { kind: 'REGION', words: 'Region', field: 'regionId' },
});

export const SPACE = /** @type {Record<string, string>} */ ({
  HIGH: 'High security',
  LOW: 'Low security',
  NULL: 'Null security',
  WORMHOLE: 'Wormholes',
  POCHVEN: 'Pochven',
  ABYSSAL: 'Abyss',
});

export const WORTH = /** @type {Record<string, string>} */ ({
  '1e7': '10m and more',
  '1e8': '100m and more',
  '1e9': '1b and more',
  '1e10': '10b and more',
});

/** @typedef {import('./mails.js').Choice} Choice */

/** Everything. @returns {Choice} */
export const nothing = () => ({
  pilot: null, side: 'all', order: 'time', space: null, worth: null, region: null, system: null, ship: null, group: null,
  corporation: null, alliance: null, character: null,
});

/** @param {Choice} one @param {Choice} other */
export const same = (one, other) => /** @type {(keyof Choice)[]} */ (Object.keys(nothing())).every((each) => one[each] === other[each]);

const KEYS = /** @type {(keyof typeof CONDITIONS)[]} */ (Object.keys(CONDITIONS));

/** Whether there is more than the pilot and the side, which every mail of the list tells. @param {Choice} choice */
export const narrows = (choice) => Boolean(choice.space || choice.worth || KEYS.some((each) => choice[each]));

/** A choice as a KillmailFilter; null: all. @param {Choice} choice */
export function filterOf(choice) {
  /** @type {Record<string, any>} */
  const filter = {};
  /** @type {Record<string, any>} */
  const who = {};
  for (const each of KEYS) {
    const into = ['character', 'corporation', 'alliance'].includes(each) ? who : filter;
    if (choice[each]) into[CONDITIONS[each].field] = choice[each];
  }
  if (!choice.pilot) Object.assign(filter, who);
  else {
    filter.characterId = choice.pilot;
    filter.role = { all: null, kills: 'ATTACKER', losses: 'VICTIM' }[choice.side];
    // The side is our pilot's; whom else was looked for may be on either.
    if (Object.keys(who).length) filter.any = [who];
  }
  if (choice.space) filter.securityClass = choice.space;
  if (choice.worth) filter.minValue = Number(choice.worth);
  return Object.keys(filter).length ? filter : null;
}
