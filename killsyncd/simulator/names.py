"""Invented names of pilots, corporations and alliances, in the manner of New Eden."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace("\n", " ").split(" | ")) if "|" in text else tuple(text.split())


_FIRST = _words(
    """
Aldo Amarin Anara Arkady Asher Ayako Benedikt Brenna Calla Castor Cathrin Dagan Darya Deimo Dhalia
Dominik Eirik Elara Emeri Esmari Fenris Gallia Garrick Hakon Helene Hiro Ilmari Imara Isolde Ivar Jorun
Kaari Kador Kesan Kiera Koruna Lazar Leera Lirael Maarit Magnus Mirelle Nadir Naomi Nikolai Odrin Orla
Pavel Petra Quill Rasmus Ravenna Reiko Roald Sabine Saito Sanna Sorin Svetla Tamsin Tarek Tovi Ulla
Uriel Valen Vasha Viktor Wilhelmina Yana Yorick Zainab Zephyr
""".strip()
)
_LAST = _words(
    """
Abrakov Aideron Ankari Arkonen Bellefleur Blackmoor Brutorin Cadelanne Corvane Dallocort Deschaine
Draconis Edeko Eskeitan Farstrider Frostrim Gallentius Haaketh Halvorsen Hekkonen Idama Iskandar
Ishukone-Rae Jarlhede Kaalmeri Karnoffel Khumal Kuvakei Laaksonen Lantier Makinen Mordane Nakatre
Niskanen Oramara Otsolen Pellinor Qerulen Raivoken Rokuza Sarpati Sebiestor Sharonen Starfall Suuramon
Taisanen Tashkar Thornwood Umaras Vaarlund Vanderhaal Vherokin Voidwalker Wardek Xerxan Yrienne
Zarzakhar
""".strip()
)
_ADJECTIVE = _words(
    """
Amber Ashen Black Broken Burning Cobalt Crimson Distant Drifting Eternal Fallen Feral Forgotten Frozen
Gilded Hollow Iron Last Lonely Lost Midnight Obsidian Pale Quiet Radiant Restless Rusty Scarlet Silent
Solar Sunken Tarnished Twilight Unbound Vagrant Velvet Wandering Wayward
""".strip()
)
_NOUN = _words(
    """
Anchor Anvil Asteroid Beacon Caravan Cartel Comet Compass Constellation Corsair Covenant Dagger Dominion
Dynamo Echo Ember Eclipse Expedition Falcon Forge Gambit Harbor Horizon Lantern Legion Meridian Monolith
Nebula Nomad Oracle Outpost Parallax Pilgrim Pulsar Quarry Raven Reactor Reckoning Serpent Signal Spire
Tempest Vanguard Vector Wormhole Zenith
""".strip()
)
_SUFFIX = _words(
    """
Industries | Holdings | Syndicate | Collective | Navy | Logistics | Armada | Trading Company |
Expeditionary Force | Inc. | Mining Union | Security | Brotherhood | Research Group | Salvage |
Irregulars | Mercantile | Reserve
""".strip()
)
_LEAGUE = _words(
    """
Alliance Coalition Federation Pact Concord Empire League Treaty Dominion Accord
""".strip()
)


def _mix(number: int) -> int:
    """Spread neighbouring ids apart (Knuth's multiplicative hash)."""
    return (number * 2654435761 + 0x9E3779B9) % 2**32


def pilot_name(number: int) -> str:
    """A name for a pilot; the same for the same number, different for most others."""
    mixed = _mix(number)
    first, last = _FIRST[mixed % len(_FIRST)], _LAST[mixed // 97 % len(_LAST)]
    variant = mixed // 9973 % 30
    if variant < 4:
        return f"{first} {last}"
    # EVE has millions of names; a middle initial keeps ours apart.
    return f"{first} {chr(61 + variant)} {last}"


def corporation_name(number: int) -> str:
    """A name for a player corporation."""
    mixed = _mix(number)
    adjective, noun = _ADJECTIVE[mixed % len(_ADJECTIVE)], _NOUN[mixed // 61 % len(_NOUN)]
    return f"{adjective} {noun} {_SUFFIX[mixed // 4099 % len(_SUFFIX)]}"


def alliance_name(number: int) -> str:
    """A name for an alliance."""
    mixed = _mix(number)
    adjective, noun = _ADJECTIVE[mixed // 7 % len(_ADJECTIVE)], _NOUN[mixed // 67 % len(_NOUN)]
    return f"{adjective} {noun} {_LEAGUE[mixed % len(_LEAGUE)]}"


def ticker(name: str) -> str:
    """A ticker of a corporation's or alliance's name: its initials, at most five."""
    return "".join(word[0] for word in name.split() if word[0].isalnum())[:5].upper() or "SIM"
