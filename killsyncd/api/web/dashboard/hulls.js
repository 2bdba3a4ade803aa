// Which class of hull a ship's name belongs to, for the glyph beside it. Names are EVE's, property of
// CCP hf. A name that is not here gets the plain glyph: nothing depends on it.

/** @type {Record<string, string>} */
const NAMES = {
  shuttle: 'Leopard, Apotheosis',
  frigate: `Ibis, Impairor, Velator, Reaper, Taipan, Echo, Hematos, Immolator, Violator, Condor, Griffin,
    Slasher, Rifter, Executioner, Tristan, Incursus, Punisher, Breacher, Kestrel, Merlin, Atron, Maulus,
    Navitas, Imicus, Bantam, Heron, Burst, Probe, Vigil, Inquisitor, Crucifier, Magnate, Tormentor, Sunesis,
    Caldari Navy Hookbill, Imperial Navy Slicer, Republic Fleet Firetail, Federation Navy Comet, Daredevil,
    Worm, Dramiel, Cruor, Succubus, Garmur, Astero, Vengeance, Wolf, Hawk, Harpy, Retribution, Jaguar, Ishkur,
    Enyo, Freki, Cambion, Malice, Utu, Whiptail, Imp, Crow, Raptor, Crusader, Malediction, Claw, Stiletto,
    Taranis, Ares, Nemesis, Manticore, Hound, Purifier, Virtuoso, Buzzard, Helios, Anathema, Cheetah, Pacifier,
    Keres, Kitsune, Hyena, Sentinel, Kirin, Thalia, Scalpel, Deacon, Damavik, Nergal, Skybreaker,
    Metamorphosis, Chremoas, Caedes, Rabisu, Hydra, Geri, Bestla, Zephyr`,
  destroyer: `Coercer, Cormorant, Catalyst, Thrasher, Algos, Dragoon, Corax, Talwar, Kikimora, Mekubal, Draugur,
    Heretic, Sabre, Eris, Flycatcher, Stork, Pontifex, Magus, Bifrost, Confessor, Svipul, Jackdaw, Hecate,
    Tholos, Cenotaph`,
  cruiser: `Osprey, Caracal, Stabber, Moa, Maller, Vexor, Thorax, Rupture, Scythe, Blackbird, Omen, Arbitrator,
    Augoror, Bellicose, Celestis, Exequror, Gila, Phantasm, Cynabal, Vigilant, Ashimmu, Orthrus, Stratios,
    Cerberus, Vagabond, Zealot, Ishtar, Eagle, Muninn, Sacrilege, Deimos, Ikitursa, Scimitar, Basilisk, Guardian,
    Oneiros, Zarmazd, Rodiva, Vedmak, Falcon, Rook, Huginn, Rapier, Pilgrim, Curse, Arazu, Lachesis, Enforcer,
    Broadsword, Onyx, Phobos, Devoter, Laelaps, Loki, Legion, Proteus, Tengu, Monitor, Tiamat, Mimir, Adrestia,
    Vangel, Chameleon, Fiend, Stormbringer`,
  battlecruiser: `Ferox, Brutix, Cyclone, Prophecy, Harbinger, Drake, Myrmidon, Hurricane, Oracle, Naga, Talos,
    Tornado, Gnosis, Alligator, Khizriel, Drekavac, Absolution, Damnation, Astarte, Eos, Claymore, Sleipnir,
    Nighthawk, Vulture`,
  battleship: `Raven, Tempest, Scorpion, Megathron, Apocalypse, Armageddon, Typhoon, Dominix, Machariel,
    Rattlesnake, Rokh, Hyperion, Abaddon, Maelstrom, Bhaalgorn, Nightmare, Vindicator, Barghest, Nestor,
    Leshak, Praxis, Thunderchild, Paladin, Kronos, Vargur, Golem, Sin, Widow, Panther, Redeemer, Marshal`,
  capital: `Archon, Thanatos, Chimera, Nidhoggur, Revelation, Naglfar, Moros, Phoenix, Zirnitra, Chemosh, Caiman,
    Vehement, Apostle, Minokawa, Ninazu, Lif, Dagon, Loggerhead, Bane, Hubris, Karura, Valravn, Rorqual`,
  supercapital: `Hel, Nyx, Wyvern, Aeon, Revenant, Vendetta, Erebus, Leviathan, Avatar, Ragnarok, Vanquisher,
    Molok, Komodo, Azariel`,
  industrial: `Badger, Tayra, Nereus, Mammoth, Epithal, Iteron Mark V, Bestower, Sigil, Kryos, Miasmos, Hoarder,
    Wreathe, Noctis, Bustard, Occator, Mastodon, Impel, Crane, Viator, Prowler, Prorator, Squall, Deluge, Torrent,
    Avalanche, Primae, Porpoise, Orca`,
  freighter: 'Providence, Charon, Obelisk, Fenrir, Bowhead, Ark, Rhea, Anshar, Nomad',
  mining: 'Covetor, Retriever, Procurer, Hulk, Mackinaw, Skiff, Venture, Prospect, Endurance',
  structure: `Astrahus, Fortizar, Keepstar, Athanor, Tatara, Raitaru, Azbel, Sotiyo, Metenox Moon Drill,
    Ansiblex Jump Gate, Tenebrex Cyno Jammer, Pharolux Cyno Beacon, Customs Office, Orbital Skyhook,
    Sovereignty Hub, Infrastructure Hub, Territorial Claim Unit`,
};

/** @type {[RegExp, string][]} */
const PATTERNS = [
  [/^Capsule\b/, 'capsule'],
  [/\bShuttle$/, 'shuttle'],
  [/\b(Control Tower|Customs Office|Keepstar|Fortizar|Outpost)\b/, 'structure'],
  [/^(Standup|Upwell)\b/, 'structure'],
  [/\bMobile\b|\b(Depot|Tractor Unit|Siphon Unit|Container|Vault)\b/, 'deployable'],
];

/** Navy and other editions of a hull look like the hull. */
const EDITION = / (Navy|Fleet|State|Tribal|Federate|Imperial|Interbus|ORE|Quafe|\S+ Edition|Issue).*$/;

const BY_NAME = new Map(
  Object.entries(NAMES).flatMap(([kind, names]) =>
    names.split(',').map((name) => /** @type {[string, string]} */ ([name.trim().replace(/\s+/g, ' '), kind])),
  ),
);

/**
 * The class of a hull by its name; '' when it is not known.
 * @param {string|null|undefined} name
 * @returns {string}
 */
export function hullClass(name) {
  if (!name) return '';
  const known = BY_NAME.get(name) ?? BY_NAME.get(name.replace(EDITION, ''));
  return known ?? PATTERNS.find(([pattern]) => pattern.test(name))?.[1] ?? '';
}
