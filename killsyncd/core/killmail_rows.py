"""A killmail as the rows that stand for it in the database, and the ids whose names it needs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import cast

from killsyncd.core.killmail import EsiItem, Killmail, is_npc, is_solo

KillmailRow = tuple[int, str, datetime, int, int | None, int | None, int, bool, bool]


VictimRow = tuple[
    int,
    int | None,
    int | None,
    int | None,
    int | None,
    int,
    int,
    float | None,
    float | None,
    float | None,
    int,
]


AttackerRow = tuple[
    int,
    int,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    int | None,
    int,
    bool,
    float,
    int,
]


ItemRow = tuple[int, int, int | None, int, int, int | None, int | None, int]


def killmail_row(killmail: Killmail, killmail_hash: str) -> KillmailRow:
    """(killmail_id, killmail_hash, killmail_time in UTC, solar_system_id, war_id, moon_id,
    attacker_count, solo, npc)."""
    return (
        killmail.killmail_id,
        killmail_hash,
        killmail.killmail_time.astimezone(UTC),
        killmail.solar_system_id,
        killmail.war_id,
        killmail.moon_id,
        len(killmail.attackers),
        is_solo(killmail),
        is_npc(killmail),
    )


def killed_at(killmail: Killmail) -> int:
    """When it was, in whole seconds since 1970."""
    return math.floor(killmail.killmail_time.timestamp())


def victim_row(killmail: Killmail) -> VictimRow:
    """(killmail_id, character_id, corporation_id, alliance_id, faction_id, ship_type_id, damage_taken,
    position_x, position_y, position_z, killed_at); killed_at in seconds since 1970."""
    victim = killmail.victim
    position = victim.position
    return (
        killmail.killmail_id,
        victim.character_id,
        victim.corporation_id,
        victim.alliance_id,
        victim.faction_id,
        victim.ship_type_id,
        victim.damage_taken,
        position.x if position else None,
        position.y if position else None,
        position.z if position else None,
        killed_at(killmail),
    )


def attacker_rows(killmail: Killmail) -> list[AttackerRow]:
    """(killmail_id, position, character_id, corporation_id, alliance_id, faction_id, ship_type_id,
    weapon_type_id, damage_done, final_blow, security_status, killed_at); position from 0, in ESI's order."""
    killmail_id, at = killmail.killmail_id, killed_at(killmail)
    return [
        (
            killmail_id,
            position,
            attacker.character_id,
            attacker.corporation_id,
            attacker.alliance_id,
            attacker.faction_id,
            attacker.ship_type_id,
            attacker.weapon_type_id,
            attacker.damage_done,
            attacker.final_blow,
            attacker.security_status,
            at,
        )
        for position, attacker in enumerate(killmail.attackers)
    ]


def item_rows(killmail: Killmail) -> list[ItemRow]:
    """(killmail_id, position, parent, item_type_id, flag, quantity_dropped, quantity_destroyed,
    singleton).

    Depth first, position from 0: a container comes right before what it holds, and `parent` is the
    container's position, or None.
    """
    rows: list[ItemRow] = []
    if killmail.victim.items:
        _flatten(killmail.killmail_id, killmail.victim.items, None, rows)
    return rows


def _flatten(killmail_id: int, items: list[EsiItem], parent: int | None, rows: list[ItemRow]) -> None:
    for item in items:
        position = len(rows)
        rows.append(
            (
                killmail_id,
                position,
                parent,
                item.item_type_id,
                item.flag,
                item.quantity_dropped,
                item.quantity_destroyed,
                item.singleton,
            )
        )
        if item.items:
            _flatten(killmail_id, item.items, position, rows)


def entity_ids(*killmails: Killmail) -> set[int]:
    """What `POST /universe/names` can name in these mails.

    Characters, corporations, alliances, factions, ship, weapon and item types, the solar system. Not
    wars and moons: that route does not know them, and one unknown id fails its whole batch.
    """
    found: set[int | None] = set()
    for killmail in killmails:
        victim = killmail.victim
        found.update(
            (
                killmail.solar_system_id,
                victim.character_id,
                victim.corporation_id,
                victim.alliance_id,
                victim.faction_id,
                victim.ship_type_id,
            )
        )
        for attacker in killmail.attackers:
            found.update(
                (
                    attacker.character_id,
                    attacker.corporation_id,
                    attacker.alliance_id,
                    attacker.faction_id,
                    attacker.ship_type_id,
                    attacker.weapon_type_id,
                )
            )
        if victim.items:
            _add_types(victim.items, found)
    found.discard(None)
    ids = cast(set[int], found)
    # Hardly ever: worth a look, and not a test of every id.
    return ids if min(ids, default=1) > 0 else {number for number in ids if number > 0}


def _add_types(items: list[EsiItem], found: set[int | None]) -> None:
    found.update([item.item_type_id for item in items])
    for item in items:
        if item.items:
            _add_types(item.items, found)
