// Where in a ship something was, as EVE's location flags number it.

/** @typedef {{name: string, from: number, to: number, fitted?: boolean}} Slot */

/** In the order in which a wreck is read: the fitting, then the bays, then the rest. @type {Slot[]} */
export const SLOTS = [
  { name: 'High slots', from: 27, to: 34, fitted: true },
  { name: 'Mid slots', from: 19, to: 26, fitted: true },
  { name: 'Low slots', from: 11, to: 18, fitted: true },
  { name: 'Rigs', from: 92, to: 99, fitted: true },
  { name: 'Subsystems', from: 125, to: 132, fitted: true },
  { name: 'Service slots', from: 164, to: 171, fitted: true },
  { name: 'Fitted, slot not recorded', from: 0, to: 0 }, // mails of the first years say no more
  { name: 'Fixed slot', from: 35, to: 35 },
  { name: 'Drone bay', from: 87, to: 87 },
  { name: 'Fighter tubes', from: 159, to: 163, fitted: true },
  { name: 'Fighter bay', from: 158, to: 158 },
  { name: 'Frigate escape bay', from: 179, to: 179 },
  { name: 'Implants', from: 89, to: 89 },
  { name: 'Boosters', from: 88, to: 88 },
  { name: 'Cargo hold', from: 5, to: 5 },
  { name: 'Fleet hangar', from: 155, to: 155 },
  { name: 'Ship maintenance bay', from: 90, to: 91 },
  { name: 'Fuel bay', from: 133, to: 133 },
  { name: 'Mining hold', from: 134, to: 134 },
  { name: 'Gas hold', from: 135, to: 135 },
  { name: 'Mineral hold', from: 136, to: 136 },
  { name: 'Salvage hold', from: 137, to: 137 },
  { name: 'Ship hold', from: 138, to: 138 },
  { name: 'Small ship hold', from: 139, to: 139 },
  { name: 'Medium ship hold', from: 140, to: 140 },
  { name: 'Large ship hold', from: 141, to: 141 },
  { name: 'Industrial ship hold', from: 142, to: 142 },
  { name: 'Ammo hold', from: 143, to: 143 },
  { name: 'Command center hold', from: 148, to: 148 },
  { name: 'Planetary commodities hold', from: 149, to: 149 },
  { name: 'Material bay', from: 151, to: 151 },
  { name: 'Quafe bay', from: 154, to: 154 },
  { name: 'Booster hold', from: 176, to: 176 },
  { name: 'Subsystem hold', from: 177, to: 177 },
  { name: 'Ice hold', from: 181, to: 181 },
  { name: 'Asteroid hold', from: 182, to: 182 },
  { name: 'Mobile depot hold', from: 183, to: 183 },
  { name: 'Infrastructure hold', from: 185, to: 185 },
  { name: 'Structure fuel', from: 172, to: 172 },
  { name: 'Core room', from: 180, to: 180 },
  { name: 'Hangar', from: 4, to: 4 },
  { name: 'Corporation hangars', from: 115, to: 122 },
  { name: 'Deliveries', from: 173, to: 173 },
];

/** @param {number} flag @returns {Slot} */
export function slotOf(flag) {
  return SLOTS.find((each) => flag >= each.from && flag <= each.to) ?? { name: `Other (location ${flag})`, from: flag, to: flag };
}

/**
 * Items by where they were, in the order of SLOTS; places that are not listed come last.
 * @param {any[]} items
 * @returns {{slot: Slot, items: any[]}[]}
 */
export function bySlot(items) {
  /** @type {Map<string, {slot: Slot, items: any[]}>} */
  const groups = new Map();
  for (const item of items) {
    const slot = slotOf(item.flag);
    const group = groups.get(slot.name);
    if (group) group.items.push(item);
    else groups.set(slot.name, { slot, items: [item] });
  }
  const rank = (/** @type {Slot} */ slot) => {
    const index = SLOTS.indexOf(slot);
    return index < 0 ? SLOTS.length + slot.from : index;
  };
  return [...groups.values()].sort((one, other) => rank(one.slot) - rank(other.slot));
}

/** Nothing in a mail tells a charge from the module it is loaded into; their names mostly do. */
const CHARGE = /(\b(S|M|L|XL|Script|Missile|Rocket|Torpedo|Bomb|Probe|Probe I|Paste)|Cap Booster \d+)$/;

/** @param {any} item */
const looksLoaded = (item) => Number(CHARGE.test(item.itemType.name ?? ''));

/**
 * The lines of one group. Fitted slots keep their order, a charge below its module; in holds the same
 * thing in several stacks becomes one line.
 * @param {Slot} slot
 * @param {any[]} items
 * @returns {{item: any, dropped: number, destroyed: number, charge: boolean}[]}
 */
export function lines(slot, items) {
  const count = (/** @type {any} */ item) => (item.quantityDropped ?? 0) + (item.quantityDestroyed ?? 0);
  if (slot.fitted) {
    const sorted = [...items].sort((one, other) =>
      one.flag - other.flag || looksLoaded(one) - looksLoaded(other) || count(one) - count(other));
    let flag = -1;
    return sorted.map((item) => {
      const charge = item.flag === flag;
      flag = item.flag;
      return { item, dropped: item.quantityDropped ?? 0, destroyed: item.quantityDestroyed ?? 0, charge };
    });
  }
  /** @type {Map<string, {item: any, dropped: number, destroyed: number, charge: boolean}>} */
  const stacks = new Map();
  for (const item of items) {
    // A container is told from every other by what is in it.
    const key = item.items.length ? `${stacks.size} ${item.itemType.id}` : `${item.itemType.id}:${item.singleton}`;
    const known = stacks.get(key) ?? { item, dropped: 0, destroyed: 0, charge: false };
    known.dropped += item.quantityDropped ?? 0;
    known.destroyed += item.quantityDestroyed ?? 0;
    stacks.set(key, known);
  }
  return [...stacks.values()];
}

/** How many of a fitted group's slots hold something. @param {any[]} items */
export const slotsUsed = (items) => new Set(items.map((each) => each.flag)).size;
