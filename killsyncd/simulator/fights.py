"""Who kills whom, in what, with which cargo: a killmail from a seed.

A mail is made twice in the same way: its head (victim, hull, final blow: all that the hash needs) when it is
listed, the whole when it is asked for. Nothing is kept in between, so a hundred thousand mails cost little.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .clock import iso_date
from .outsiders import Party, outsider
from .universe import Hull, Npc, Universe

KINDS = ("solo", "gang", "fleet", "npc", "structure", "capsule", "hauler", "capital")
_LOSSES = (
    ("solo", 24),
    ("gang", 38),
    ("fleet", 8),
    ("npc", 12),
    ("capsule", 8),
    ("hauler", 8),
    ("capital", 2),
)
_KILLS = (
    ("solo", 22),
    ("gang", 44),
    ("fleet", 12),
    ("npc", 3),
    ("structure", 6),
    ("capsule", 8),
    ("hauler", 6),
    ("capital", 2),
)

_SMALL = ("frigate", "assault_frigate", "interceptor", "destroyer", "interdictor", "stealth_bomber")
_LARGE = ("cruiser", "heavy_assault_cruiser", "logistics", "recon", "strategic_cruiser", "battlecruiser")
_HUGE = ("attack_battlecruiser", "battleship", "marauder")
_CAPITAL = ("carrier", "dreadnought", "supercarrier", "titan")
_HAULERS = ("hauler", "deep_space_transport", "freighter", "mining_barge")
_STRUCTURES = ("citadel", "refinery", "control_tower", "deployable")
_SIZES = {"small": "small", "medium": "medium", "large": "large", "capital": "capital"}

HIGH, MID, LOW, RIG, SUBSYSTEM = 27, 19, 11, 92, 125
CARGO, DRONE_BAY, FLEET_HANGAR, FIGHTER_BAY, SHIP_HANGAR = 5, 87, 155, 158, 90
LOKI = 29990


class Cast(NamedTuple):
    """Who of the simulated pilots is on a mail, and as what. Everybody else on it is a stranger."""

    victim: Party | None = None
    """None: a stranger dies."""
    shooters: tuple[Party, ...] = ()
    """The first of them strikes the final blow; where an NPC does, is the last player who did damage."""
    assists: bool = False
    """True: all shooters only helped; the final blow is a stranger's."""

    def listed_for(self, kind: str) -> tuple[Party, ...]:
        """Those in whose lists it stands, as CCP gives it: the victim, and whoever struck the final blow.

        Where an NPC struck it, the last player who did damage. A structure has no pilot: its mail is in its
        corporation's list alone.
        """
        victims = (self.victim,) if self.victim is not None and kind != "structure" else ()
        return victims + (() if self.assists else self.shooters[:1])


@dataclass(slots=True)
class Head:
    """What the hash is made of, and the state from which the rest is drawn."""

    rng: random.Random
    kind: str
    hull: Hull
    victim: Party | None
    """None: a structure that stands for its corporation alone."""
    owner: Party
    attackers: int
    final: int
    """Position of the final blow."""
    final_blow: Party | None
    """None: an NPC."""
    npc: Npc | None


def head(universe: Universe, seed: int, kind: str, cast: Cast) -> Head:
    """The head of a mail. `kind` is one of KINDS or empty (drawn)."""
    rng = random.Random(seed)
    if not kind:
        table = _KILLS if cast.victim is None else _LOSSES
        kind = rng.choices([name for name, _ in table], [weight for _, weight in table])[0]
    npc = rng.choice(universe.npcs) if kind == "npc" else None
    hull = _hull(universe, rng, kind)
    stranger = outsider(rng.randrange(100_000))
    owner = stranger if cast.victim is None else cast.victim
    victim = None if kind == "structure" else owner
    players = len(cast.shooters) + cast.assists
    count = max(players, 1, _attackers(rng, kind)) + (players if npc is not None else 0)
    final = rng.randrange(players, count) if npc is not None else rng.randrange(count)
    if npc is not None:
        final_blow = None
    elif cast.shooters and not cast.assists:
        final_blow = cast.shooters[0]
    else:
        final_blow = outsider(_gang_member(rng.randrange(100_000), final))
    return Head(rng, kind, hull, victim, owner, count, final, final_blow, npc)


def whole(
    universe: Universe, seed: int, kind: str, cast: Cast, killmail_id: int, when: int
) -> dict[str, Any]:
    """The mail as ESI's JSON has it: what is not known is absent, never null."""
    top = head(universe, seed, kind, cast)
    rng = top.rng
    damage = int(top.hull.hp * rng.uniform(0.8, 1.3)) + 1
    mail: dict[str, Any] = {
        "attackers": _attacker_rows(universe, top, cast, damage),
        "killmail_id": killmail_id,
        "killmail_time": iso_date(when),
        "solar_system_id": rng.choice(tuple(universe.systems)),
        "victim": _victim(universe, top, damage),
    }
    if top.hull.kind in ("citadel", "refinery", "control_tower") and rng.random() < 0.6:
        mail["moon_id"] = 40_000_000 + rng.randrange(300_000)
    if rng.random() < 0.06:
        mail["war_id"] = 700_000 + rng.randrange(60_000)
    return mail


def _hull(universe: Universe, rng: random.Random, kind: str) -> Hull:
    match kind:
        case "capsule":
            group: Sequence[str] = ("capsule",)
        case "structure":
            group = _STRUCTURES
        case "hauler":
            group = _HAULERS
        case "capital":
            group = _CAPITAL
        case _:
            group = rng.choices((_SMALL, _LARGE, _HUGE), (50, 35, 15))[0]
    return rng.choice(universe.hulls[rng.choice(group)])


def _attackers(rng: random.Random, kind: str) -> int:
    match kind:
        case "solo":
            return 1
        case "fleet" | "structure" | "capital":
            return rng.randint(12, 60)
        case "npc":
            return rng.randint(1, 12)
        case _:
            return rng.randint(2, 9)


def _gang_member(leader: int, position: int) -> int:
    """Strangers who fight together come from one corporation: neighbours by number."""
    return leader - leader % 20 + (leader + position) % 20


def _attacker_rows(universe: Universe, top: Head, cast: Cast, damage: int) -> list[dict[str, Any]]:
    rng = top.rng
    shares = [rng.random() ** 2 for _ in range(top.attackers)]
    total = sum(shares) or 1.0
    leader = rng.randrange(100_000)
    rows: list[dict[str, Any]] = []
    # Identical rows, as a pack of rats leaves them: same ship, no damage told apart.
    rat = rng.choice(top.npc.types) if top.npc else 0
    players = _places(top, cast)
    for position in range(top.attackers):
        dealt = int(damage * shares[position] / total)
        final = position == top.final
        party = players.get(position)
        if top.npc is not None and party is None:
            row: dict[str, Any] = {"damage_done": damage if final else 0, "final_blow": final}
            if top.npc.corporation_id is not None:
                row["corporation_id"] = top.npc.corporation_id
            if top.npc.faction_id is not None:
                row["faction_id"] = top.npc.faction_id
            row["security_status"] = 0.0
            row["ship_type_id"] = rat
            rows.append(dict(sorted(row.items())))
            continue
        if party is None:
            party = outsider(_gang_member(leader, position))
        rows.append(_attacker(universe, rng, party, dealt, final))
    return rows


def _places(top: Head, cast: Cast) -> dict[int, Party]:
    """Who stands where among the attackers; the other rows are strangers or NPCs."""
    if top.npc is not None:
        helpers: list[Party] = [outsider(top.hull.type_id)] if cast.assists else []
        return dict(enumerate([*helpers, *cast.shooters]))
    if top.final_blow is None:
        return {}
    others = cast.shooters if cast.assists else cast.shooters[1:]
    free = (position for position in range(top.attackers) if position != top.final)
    return {top.final: top.final_blow, **dict(zip(free, others, strict=False))}


def _attacker(
    universe: Universe, rng: random.Random, party: Party, dealt: int, final: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if party.alliance_id is not None:
        row["alliance_id"] = party.alliance_id
    row["character_id"] = party.character_id
    row["corporation_id"] = party.corporation_id
    row["damage_done"] = dealt
    if party.faction_id is not None:
        row["faction_id"] = party.faction_id
    row["final_blow"] = final
    row["security_status"] = round(rng.uniform(-10.0, 5.0), 1)
    if rng.random() < 0.97:
        hull = rng.choice(universe.hulls[rng.choice(rng.choices((_SMALL, _LARGE, _HUGE), (45, 40, 15))[0])])
        row["ship_type_id"] = hull.type_id
        pool = universe.pools[rng.choice((f"gun_{hull.size}", "drone"))]
        row["weapon_type_id"] = hull.type_id if rng.random() < 0.15 else rng.choice(pool)
    return row


def _victim(universe: Universe, top: Head, damage: int) -> dict[str, Any]:
    rng, owner = top.rng, top.owner
    row: dict[str, Any] = {}
    if owner.alliance_id is not None:
        row["alliance_id"] = owner.alliance_id
    if top.victim is not None:
        row["character_id"] = owner.character_id
    row["corporation_id"] = owner.corporation_id
    row["damage_taken"] = damage
    if owner.faction_id is not None:
        row["faction_id"] = owner.faction_id
    items = _items(universe, top)
    # ESI sends an empty list for a capsule without implants, and leaves it out for old mails.
    if items or rng.random() < 0.9:
        row["items"] = items
    if rng.random() < 0.92:
        row["position"] = {axis: rng.uniform(-4e12, 4e12) for axis in ("x", "y", "z")}
    row["ship_type_id"] = top.hull.type_id
    return row


def _items(universe: Universe, top: Head) -> list[dict[str, Any]]:
    rng, hull, pools = top.rng, top.hull, universe.pools
    items: list[dict[str, Any]] = []
    size = hull.size
    if hull.slots[0] and size != "none":
        gun_pool = f"gun_{size}"
        gun = rng.choice(pools[gun_pool])
        charge = rng.choice(pools[universe.ammunition[gun_pool]])
        for slot in range(hull.slots[0]):
            items.append(_item(rng, gun, HIGH + slot, 1))
            if rng.random() < 0.7:
                items.append(_item(rng, charge, HIGH + slot, rng.randint(1, 120)))
    for first, column, pool in ((MID, 1, "mid"), (LOW, 2, "low"), (RIG, 3, "rig")):
        choice = pools.get(f"{pool}_{size}", ())
        for slot in range(hull.slots[column] if choice else 0):
            if rng.random() < 0.92:
                items.append(_item(rng, rng.choice(choice), first + slot, 1, lost=pool == "rig"))
    if hull.type_id == LOKI:
        items += [_item(rng, part, SUBSYSTEM + n, 1) for n, part in enumerate(pools["subsystem_loki"])]
    if size in ("medium", "large") and rng.random() < 0.6:
        items.append(_item(rng, rng.choice(pools["drone"]), DRONE_BAY, rng.randint(1, 10)))
    if hull.kind in ("carrier", "supercarrier"):
        items += [_item(rng, fighter, FIGHTER_BAY, rng.randint(3, 27)) for fighter in pools["fighter"][:2]]
        items.append(_item(rng, rng.choice(universe.hulls["frigate"]).type_id, SHIP_HANGAR, 1))
    if hull.kind != "capsule":
        items += [
            _item(rng, rng.choice(pools["cargo"]), CARGO, rng.randint(1, 400))
            for _ in range(rng.randint(0, 5))
        ]
        items += _hold(universe, top)
    return items


def _hold(universe: Universe, top: Head) -> list[dict[str, Any]]:
    """Freight: ore by the billion, containers with things inside, blueprint copies."""
    rng, hull, pools = top.rng, top.hull, universe.pools
    items: list[dict[str, Any]] = []
    freight = top.kind == "hauler" or hull.kind in ("citadel", "refinery")
    if freight:
        for _ in range(rng.randint(1, 4)):
            quantity = rng.randint(10_000, 4_000_000)
            if rng.random() < 0.15:
                quantity += 2**31  # real: quantities are int64 and do pass 2^31
            items.append(_item(rng, rng.choice(pools["bulk"]), CARGO, quantity))
        if rng.random() < 0.2:
            items.append(_item(rng, rng.choice(pools["treasure"]), CARGO, rng.randint(1, 500)))
    if rng.random() < (0.6 if freight else 0.04):
        inside = [
            _item(
                rng, rng.choice(pools[rng.choice(("cargo", "drone", "ammo_medium"))]), 0, rng.randint(1, 60)
            )
            for _ in range(rng.randint(1, 6))
        ]
        flag = FLEET_HANGAR if hull.kind == "deep_space_transport" else CARGO
        box = _item(rng, rng.choice(pools["container"]), flag, 1)
        box["items"] = inside
        items.append(dict(sorted(box.items())))
    if rng.random() < (0.3 if freight else 0.03):
        copy = _item(rng, rng.choice(pools["blueprint"]), CARGO, 1)
        copy["singleton"] = 2  # a blueprint copy
        items.append(copy)
    return items


def _item(rng: random.Random, type_id: int, flag: int, quantity: int, lost: bool = False) -> dict[str, Any]:
    """One row. Rigs never drop; of a stack a part may."""
    row: dict[str, Any] = {"flag": flag, "item_type_id": type_id}
    draw = rng.random()
    if not lost and quantity > 1 and draw < 0.2:
        dropped = rng.randint(1, quantity - 1)
        row["quantity_destroyed"] = quantity - dropped
        row["quantity_dropped"] = dropped
    elif not lost and draw < 0.55:
        row["quantity_dropped"] = quantity
    else:
        row["quantity_destroyed"] = quantity
    row["singleton"] = 0
    return row
