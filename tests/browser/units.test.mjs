// The dashboard's modules that need no page. Run by test_modules.py, which copies them beside this file.

import assert from 'node:assert/strict';
import { test } from 'node:test';

globalThis.document = { baseURI: 'http://localhost/', addEventListener() {}, querySelectorAll: () => [] };
globalThis.matchMedia = () => ({ matches: false });

const { parts } = await import('./dashboard/commands.js');
const { hullClass } = await import('./dashboard/hulls.js');
const { fits, sideOf } = await import('./dashboard/mails.js');
const { filterOf, narrows, nothing } = await import('./dashboard/filters.js');
const { dashboardAddress, parse } = await import('./dashboard/router.js');
const { bySlot, lines, slotOf } = await import('./dashboard/slots.js');
const { ago, duration, eve, until } = await import('./dashboard/time.js');
const { affiliation, isk, list, nameOf, partyName, percent } = await import('./dashboard/words.js');

const item = (flag, more = {}) => ({
  itemType: { id: '1', name: 'Thing' }, flag, quantityDropped: null, quantityDestroyed: 1, singleton: 0, items: [], ...more,
});

test('flags have names', () => {
  const named = Object.entries({
    27: 'High slots', 34: 'High slots', 19: 'Mid slots', 26: 'Mid slots', 11: 'Low slots', 18: 'Low slots', 92: 'Rigs',
    99: 'Rigs', 125: 'Subsystems', 132: 'Subsystems', 87: 'Drone bay', 158: 'Fighter bay', 159: 'Fighter tubes',
    163: 'Fighter tubes', 5: 'Cargo hold', 90: 'Ship maintenance bay', 155: 'Fleet hangar', 89: 'Implants',
    133: 'Fuel bay', 134: 'Mining hold', 164: 'Service slots', 177: 'Subsystem hold', 0: 'Fitted, slot not recorded',
  });
  for (const [flag, name] of named) assert.equal(slotOf(Number(flag)).name, name);
  assert.equal(slotOf(222).name, 'Other (location 222)');
});

test('slots stand in the order of a fitting, unknown ones last', () => {
  const groups = bySlot([item(222), item(5), item(11), item(27), item(92), item(19)]);
  assert.deepEqual(groups.map(({ slot }) => slot.name),
    ['High slots', 'Mid slots', 'Low slots', 'Rigs', 'Cargo hold', 'Other (location 222)']);
});

test('a charge stands below the module it is in', () => {
  const high = slotOf(27);
  const gun = item(28, { itemType: { id: '2', name: '425mm AutoCannon II' } });
  const ammo = item(28, { itemType: { id: '3', name: 'EMP M' }, quantityDestroyed: 1 });
  const found = lines(high, [item(29), ammo, gun, item(27)]);
  assert.deepEqual(found.map((each) => [each.item.flag, each.charge]), [[27, false], [28, false], [28, true], [29, false]]);
  assert.equal(found[2].item, ammo);
});

test('stacks of one thing are one line, containers and copies stay apart', () => {
  const cargo = slotOf(5);
  const found = lines(cargo, [
    item(5), item(5, { quantityDestroyed: null, quantityDropped: 4 }), item(5, { singleton: 2 }),
    item(5, { items: [item(0)] }), item(5, { items: [item(0)] }),
  ]);
  assert.deepEqual(found.map((each) => [each.destroyed, each.dropped]), [[1, 4], [1, 0], [1, 0], [1, 0]]);
});

test('commands are found in remedies', () => {
  const commands = (text) => parts(text).filter((each) => each.command).map((each) => each.text);
  assert.deepEqual(commands('killsyncd ctl resume --producer'), ['killsyncd ctl resume --producer']);
  assert.deepEqual(commands('log this character in again: killsyncd login'), ['killsyncd login']);
  assert.deepEqual(commands('killsyncd ctl resume --user 90000001'), ['killsyncd ctl resume --user 90000001']);
  assert.deepEqual(commands('killsyncd ctl --config /home/ada/kills.toml resume --user 90000001; then wait'),
    ['killsyncd ctl --config /home/ada/kills.toml resume --user 90000001']);
  assert.deepEqual(commands('killsyncd login --config /home/ada/kills.toml.'), ['killsyncd login --config /home/ada/kills.toml']);
  assert.deepEqual(commands('.venv/bin/killsyncd ctl --socket /tmp/x/killsyncd.sock failed'),
    ['.venv/bin/killsyncd ctl --socket /tmp/x/killsyncd.sock failed']);
  assert.deepEqual(commands('sudo killsyncd-maintain check; sudo systemctl restart killsyncd and report'),
    ['sudo killsyncd-maintain check', 'sudo systemctl restart killsyncd']);
  assert.deepEqual(commands('killsyncd ctl failed shows why; killsyncd ctl retry tries them again'),
    ['killsyncd ctl failed', 'killsyncd ctl retry']);
  assert.deepEqual(commands('let this machine keep its time: timedatectl set-ntp true'), ['timedatectl set-ntp true']);
  assert.deepEqual(commands('nothing to do: work goes on by itself'), []);
  const text = 'set it, or queue by hand: killsyncd ctl queue.';
  assert.equal(parts(text).map((each) => each.text).join(''), text);
});

test('addresses lead there and back', () => {
  assert.deepEqual(parse('#/killmail/123'), { view: 'killmail', id: '123', choice: nothing() });
  for (const choice of [{ pilot: null, side: 'all' }, { pilot: '9', side: 'losses' }, { pilot: null, side: 'kills' }]) {
    assert.deepEqual(parse(dashboardAddress({ ...nothing(), ...choice })), { view: 'dashboard', choice: { ...nothing(), ...choice } });
  }
  assert.equal(parse('#feed'), null);
  assert.equal(parse('#/nowhere').view, 'unknown');
  assert.equal(parse('#/killmail/1;x').view, 'unknown');
  assert.equal(parse('#/?pilot=<b>&show=all').choice.pilot, null);
});

test('sides of a mail', () => {
  const on = (...roles) => ({ users: roles.map(([characterId, role]) => ({ role, user: { characterId } })) });
  assert.equal(sideOf(on(['1', 'ATTACKER'])), 'kill');
  assert.equal(sideOf(on(['1', 'VICTIM'])), 'loss');
  assert.equal(sideOf(on(['1', 'VICTIM'], ['2', 'ATTACKER'])), 'both');
  assert.equal(sideOf(on(['1', 'VICTIM'], ['2', 'ATTACKER']), '2'), 'kill');
  assert.equal(sideOf(on()), 'none');
  assert.ok(fits(on(['1', 'VICTIM'], ['2', 'ATTACKER']), { pilot: null, side: 'kills' }));
  assert.ok(!fits(on(['1', 'VICTIM']), { pilot: '1', side: 'kills' }));
  assert.ok(!fits(on(['1', 'VICTIM']), { pilot: '2', side: 'all' }));
});

test('times in words', () => {
  assert.equal(duration(42), '42 s');
  assert.equal(duration(3600), '1 h');
  assert.equal(duration(3700), '1 h 2 min');
  assert.equal(duration(86_400 * 3 + 3600 * 4), '3 d 4 h');
  assert.equal(duration(86_400 * 800), '2 years');
  assert.equal(until(Date.now() - 5), 'now');
  assert.match(until(Date.now() + 75_000), /^1:1[45]$/);
  assert.equal(ago(Date.now() - 125_000), '2 min ago');
  assert.equal(eve(Date.parse('2026-11-18T14:03:22Z')), '2026.11.18 14:03:22');
});

test('names that are not known yet', () => {
  assert.equal(nameOf({ id: '587', name: null }, 'Ship'), 'Ship 587');
  assert.equal(nameOf(null, 'Ship'), '');
  const structure = { character: null, corporation: { id: '1', name: 'Corp' }, alliance: null, faction: { id: '2', name: 'Faction' } };
  assert.equal(partyName(structure), 'Corp · Faction');
  assert.equal(affiliation(structure), 'Corp · Faction');
  assert.equal(partyName({}), 'Unknown');
  assert.equal(list(['a', 'b', 'c']), 'a, b and c');
});

test('hulls by name', () => {
  const known = {
    Rifter: 'frigate', 'Capsule - Genolution \'Auroral\' 197-variant': 'capsule', 'Raven Navy Issue': 'battleship',
    'Caldari Control Tower': 'structure', 'Mobile Tractor Unit': 'deployable', 'Gallente Shuttle': 'shuttle',
    'Federation Navy Comet': 'frigate', Loki: 'cruiser', Avatar: 'supercapital', 'Something Else': '',
  };
  for (const [name, kind] of Object.entries(known)) assert.equal(hullClass(name), kind, name);
  assert.equal(hullClass(null), '');
});

test('ISK as players write it', () => {
  for (const [value, words] of [
    [0, '0'], [0.01, '0.01'], [940, '940'], [12_500, '12.5k'], [999_400, '999k'], [999_600, '1m'], [850_300_000, '850m'],
    [1_240_000_000, '1.24b'], [1_200_000_000, '1.2b'], [12_440_000_000, '12.4b'], [99_960_000_000, '100b'], [2_000_000_000_000, '2t'],
  ]) assert.equal(isk(value), words);
  assert.equal(percent(0.75), '75.0 %');
  assert.equal(percent(null), '–');
});

test('a filter of the address is the daemon’s', () => {
  assert.equal(filterOf(nothing()), null);
  assert.deepEqual(filterOf({ ...nothing(), pilot: '1', side: 'kills', region: '7', worth: '1e9', space: 'LOW' }),
    { characterId: '1', role: 'ATTACKER', regionId: '7', securityClass: 'LOW', minValue: 1e9 });
  // The side is our pilot's, and not whom else was looked for.
  assert.deepEqual(filterOf({ ...nothing(), pilot: '1', side: 'losses', corporation: '5', ship: '9' }),
    { characterId: '1', role: 'VICTIM', shipTypeId: '9', any: [{ corporationId: '5' }] });
  assert.deepEqual(filterOf({ ...nothing(), character: '3' }), { characterId: '3' });
  assert.equal(narrows({ ...nothing(), pilot: '1', side: 'kills' }), false);
  assert.equal(narrows({ ...nothing(), group: '25' }), true);
  for (const text of ['region=x', 'space=HEAVEN', 'worth=7', 'order=luck', 'system=1e9']) {
    assert.deepEqual(parse(`#/?${text}`).choice, nothing());
  }
  assert.equal(parse('#/statistics?days=30&pilot=5').days, 30);
  assert.equal(parse('#/statistics?days=31').days, 90);
});

test('an NPC is called by whom it belongs to, or by its ship', () => {
  const rat = { shipType: { id: '23', name: 'Corpii Seeker' } };
  assert.equal(partyName(rat), 'Corpii Seeker');
  assert.equal(partyName({ ...rat, faction: { id: '5', name: 'Blood Raider Covenant' } }), 'Blood Raider Covenant');
  assert.equal(partyName({}), 'Unknown');
});
