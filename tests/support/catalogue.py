"""A small universe in the static data's tables, and values of killmails."""

from __future__ import annotations

from collections.abc import Mapping

from killsyncd.core.security import SecurityClass
from killsyncd.storage.transaction import Bulk, Sql, Store, Tx

REGION, WORMHOLES = 10_000_060, 11_000_001
CONSTELLATION = 20_000_700

SYSTEMS = {
    30_000_001: (CONSTELLATION, REGION, 0.4589, SecurityClass.HIGH),
    30_000_002: (CONSTELLATION + 1, REGION, 0.0213, SecurityClass.LOW),
    30_000_003: (21_000_001, WORMHOLES, -0.99, SecurityClass.WORMHOLE),
}
"""By id: constellation, region, security as CCP has it, class."""

FRIGATES, CRUISERS, CHARGES = 25, 26, 83
SHIPS, CHARGE = 6, 8


def group_of(type_id: int) -> int | None:
    """Of the ships that `mail_json` makes; every seventh is not known."""
    return None if type_id % 7 == 0 else FRIGATES if type_id % 2 else CRUISERS


async def fill_catalogue(store: Store, types: range = range(580, 700)) -> None:
    """Put these systems, and these types with their groups, into the static data's tables."""
    await store.write(_fill, types)


def _fill(types: range) -> Tx[None]:
    yield Bulk("regions", ("region_id", "name"), [(REGION, "Delve"), (WORMHOLES, "A-R00001")])
    yield Bulk(
        "constellations",
        ("constellation_id", "region_id", "name"),
        [
            (CONSTELLATION, REGION, "1P-VL2"),
            (CONSTELLATION + 1, REGION, "OK-FEM"),
            (21_000_001, WORMHOLES, "A-C00001"),
        ],
    )
    yield Bulk(
        "solar_systems",
        ("system_id", "constellation_id", "region_id", "security", "name"),
        [(id_, each[0], each[1], each[2], f"System {id_}") for id_, each in SYSTEMS.items()],
    )
    yield Bulk("type_categories", ("category_id", "name"), [(SHIPS, "Ship"), (CHARGE, "Charge")])
    yield Bulk(
        "type_groups",
        ("group_id", "category_id", "name"),
        [(FRIGATES, SHIPS, "Frigate"), (CRUISERS, SHIPS, "Cruiser"), (CHARGES, CHARGE, "Hybrid Charge")],
    )
    yield Bulk(
        "types",
        ("type_id", "group_id", "name"),
        [(each, group_of(each), f"Type {each}") for each in types if group_of(each) is not None],
    )


async def put_values(store: Store, totals: Mapping[int, int]) -> None:
    """Values of mails, in hundredths of an ISK: all of it the hull's, destroyed."""
    await store.write(_values, totals)


def _values(totals: Mapping[int, int]) -> Tx[None]:
    for killmail_id, total in totals.items():
        yield Sql(
            "INSERT INTO killmail_values (killmail_id, total, destroyed, dropped, ship, fitted, cargo,"
            " method, priced_on, unpriced, valued_at, killed_at)"
            " SELECT k.killmail_id, :total, :total, 0, :total, 0, 0, 'ESI_AVERAGE',"
            " 20261130, '[77]', {now}, v.killed_at"
            " FROM killmails k JOIN victims v ON v.killmail_id = k.killmail_id WHERE k.killmail_id = :id",
            {"id": killmail_id, "total": total},
        )
