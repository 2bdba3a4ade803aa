"""The unchanging part of the universe: types, systems, factions, and a name for any id.

The ids and names are EVE's own, from `universe.toml`. Ids that stand nowhere get an invented name when
they lie in a range that CCP uses (developers.eveonline.com, "ID ranges"), so that real killmails resolve
whole.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from killsyncd.core.errors import BadInput

from .names import corporation_name, pilot_name

Category = Literal[
    "alliance",
    "character",
    "constellation",
    "corporation",
    "inventory_type",
    "region",
    "solar_system",
    "station",
    "faction",
]
CATEGORIES: frozenset[str] = frozenset(Category.__args__)  # type: ignore[attr-defined]


class Named(NamedTuple):
    """An id's category and name, as `/universe/names` tells them."""

    category: str
    name: str


@dataclass(frozen=True, slots=True)
class Hull:
    """A ship or structure type. `hp` is what it takes to kill it, `price` in ISK."""

    type_id: int
    kind: str
    size: str
    slots: tuple[int, int, int, int]
    hp: int


@dataclass(frozen=True, slots=True)
class Npc:
    """A group of NPCs; ESI names no corporation for some (Sleepers)."""

    types: tuple[int, ...]
    corporation_id: int | None
    faction_id: int | None


class TypeInfo(NamedTuple):
    """What `/universe/types` and `/markets/prices` tell of a type."""

    name: str
    group_id: int
    price: float


@dataclass(frozen=True, slots=True)
class Universe:
    """Everything of universe.toml, by id."""

    hulls: Mapping[str, tuple[Hull, ...]]
    pools: Mapping[str, tuple[int, ...]]
    ammunition: Mapping[str, str]
    """Pool of weapons -> pool of what they shoot."""
    npcs: tuple[Npc, ...]
    types: Mapping[int, TypeInfo]
    systems: Mapping[int, tuple[str, float]]
    """Id -> name, security status."""
    ships: tuple[Hull, ...]
    names: Mapping[int, Named]
    groups: Mapping[int, tuple[str, int]]
    """Id -> name, category."""
    categories: Mapping[int, str]
    constellations: Mapping[int, tuple[str, int]]
    """Id -> name, region."""
    places: Mapping[int, int]
    """System -> constellation."""


@cache
def load_universe() -> Universe:
    """The built-in universe; read once, shared, never changed."""
    raw = tomllib.loads(resources.files(__package__).joinpath("universe.toml").read_text("utf-8"))
    types: dict[int, TypeInfo] = {}
    names: dict[int, Named] = {}

    def add_types(section: Mapping[str, Any], price: float) -> tuple[int, ...]:
        for type_id, name in section["types"].items():
            types.setdefault(int(type_id), TypeInfo(name, section["group"], price))
        return tuple(int(type_id) for type_id in section["types"])

    hulls: dict[str, tuple[Hull, ...]] = {}
    for kind, section in raw["hulls"].items():
        high, mid, low, rig = section["slots"]
        hulls[kind] = tuple(
            Hull(type_id, kind, section["size"], (high, mid, low, rig), section["hp"])
            for type_id in add_types(section, section["price"])
        )
    pools = {name: add_types(section, section["price"]) for name, section in raw["pools"].items()}
    npcs = tuple(
        Npc(add_types(section, 0.0), section.get("corporation"), section.get("faction"))
        for section in raw["npcs"]
    )
    systems = {int(key): (str(name), float(security)) for key, (name, security) in raw["systems"].items()}
    constellations = {
        int(key): (str(name), int(region)) for key, (name, region) in raw["constellations"].items()
    }
    names.update({key: Named("constellation", name) for key, (name, _) in constellations.items()})
    names.update({key: Named("inventory_type", info.name) for key, info in types.items()})
    names.update({key: Named("solar_system", name) for key, (name, _) in systems.items()})
    for category, section in (
        ("corporation", "corporations"),
        ("faction", "factions"),
        ("region", "regions"),
    ):
        names.update({int(key): Named(category, name) for key, name in raw[section].items()})
    return Universe(
        hulls=hulls,
        pools=pools,
        ammunition={k: s["ammunition"] for k, s in raw["pools"].items() if "ammunition" in s},
        npcs=npcs,
        types=types,
        systems=systems,
        ships=tuple(hull for group in hulls.values() for hull in group),
        names=names,
        groups={int(key): (str(name), int(category)) for key, (name, category) in raw["groups"].items()},
        categories={int(key): str(name) for key, name in raw["categories"].items()},
        constellations=constellations,
        places={int(key): int(place) for key, place in raw["places"].items()},
    )


def read_names(path: Path) -> dict[int, Named]:
    """Names of a CSV file with the columns `id,category,name`.

    Raises BadInput when it is not such a file.
    """
    names: dict[int, Named] = {}
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if row["category"] not in CATEGORIES:
                    raise ValueError(f"unknown category {row['category']!r}")
                names[int(row["id"])] = Named(row["category"], row["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"the names in {path} cannot be read: {error}",
            "It must be a CSV file whose first line is id,category,name.",
        ) from error
    return names


def invented(entity_id: int, category: str | None = None) -> Named | None:
    """A name for an id that stands nowhere; None when no range of CCP's holds it.

    `category` settles it for the ids of 2005 to 2010 (100,000,000 to 2,100,000,000), which characters,
    corporations and alliances share: whoever met the id in a killmail knows from its field.
    """
    category = category or _category(entity_id)
    match category:
        case "character":
            return Named(category, pilot_name(entity_id))
        case "corporation" | "alliance":
            return Named(category, corporation_name(entity_id))
        case "inventory_type":
            return Named(category, f"Prototype {entity_id}")
        case "solar_system":
            if entity_id >= 31_000_000:
                return Named(category, f"J{100000 + entity_id % 155000:06d}")
            return Named(category, _null_name(entity_id))
        case "station":
            return Named(category, f"{_null_name(entity_id)} IV - Moon 4 - Assembly Plant")
        case None:
            return None
        case _:
            return Named(category, _null_name(entity_id))


def _category(entity_id: int) -> str | None:
    for low, high, category in (
        (1, 500_000, "inventory_type"),
        (500_000, 600_000, "faction"),
        (1_000_000, 2_000_000, "corporation"),
        (3_000_000, 4_000_000, "character"),
        (10_000_000, 20_000_000, "region"),
        (20_000_000, 30_000_000, "constellation"),
        (30_000_000, 40_000_000, "solar_system"),
        (60_000_000, 64_000_000, "station"),
        (90_000_000, 98_000_000, "character"),
        (98_000_000, 99_000_000, "corporation"),
        (99_000_000, 100_000_000, "alliance"),
        (100_000_000, 2_147_483_648, "character"),
    ):
        if low <= entity_id < high:
            return category
    return None


def _null_name(entity_id: int) -> str:
    """A name in the manner of nullsec: four signs and a dash."""
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    value = entity_id * 2654435761 % 2**32
    picked = []
    for _ in range(5):
        value, sign = divmod(value, len(signs))
        picked.append(signs[sign])
    dash = 1 + value % 3
    return "".join(picked[:dash]) + "-" + "".join(picked[dash:])
