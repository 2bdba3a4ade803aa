"""Killmails as lines of CSV: what a spreadsheet wants of them, with names and what the static data add."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from killsyncd.core.killmail import Killmail, is_npc, is_solo
from killsyncd.core.read_model import MailValue, SystemFacts, TypeFacts
from killsyncd.core.security import class_of, displayed
from killsyncd.service.ports import ImportExportRows

CSV_COLUMNS = (
    "killmail_id",
    "killmail_hash",
    "killmail_time",
    "solar_system_id",
    "solar_system_name",
    "victim_character_id",
    "victim_character_name",
    "victim_corporation_id",
    "victim_corporation_name",
    "victim_alliance_id",
    "victim_alliance_name",
    "victim_faction_id",
    "victim_ship_type_id",
    "victim_ship_name",
    "damage_taken",
    "attacker_count",
    "final_blow_character_id",
    "final_blow_character_name",
    "final_blow_corporation_id",
    "final_blow_corporation_name",
    "final_blow_alliance_id",
    "final_blow_alliance_name",
    "final_blow_ship_type_id",
    "final_blow_ship_name",
    "final_blow_weapon_type_id",
    "final_blow_weapon_name",
    "war_id",
    "moon_id",
    "solo",
    "npc",
    "value",
    "value_dropped",
    "priced_on",
    "price_method",
    "security",
    "security_class",
    "region_id",
    "region_name",
    "constellation_id",
    "constellation_name",
    "victim_ship_group_id",
    "victim_ship_group",
)
"""New ones come at the end; values in ISK, empty where nothing is known."""

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""How a formula begins in a spreadsheet, full-width forms included (OWASP, "CSV injection")."""


@dataclass(frozen=True, slots=True)
class About:
    """What the database knows of mails beside themselves."""

    names: Mapping[int, str]
    values: Mapping[int, MailValue]
    systems: Mapping[int, SystemFacts]
    types: Mapping[int, TypeFacts]


async def read_about(mails: Sequence[Killmail], rows: ImportExportRows) -> About:
    """Read it for a page of mails."""
    return About(
        await rows.names(sorted({number for mail in mails for number in _ids(mail)})),
        await rows.values([mail.killmail_id for mail in mails]),
        await rows.systems(sorted({mail.solar_system_id for mail in mails})),
        await rows.types(sorted({mail.victim.ship_type_id for mail in mails})),
    )


def csv_head() -> bytes:
    """The line with the columns."""
    return _lines([CSV_COLUMNS])


def csv_lines(mails: Sequence[tuple[str, Killmail]], about: About) -> bytes:
    """A line a mail, with its hash."""
    return _lines([_row(killmail_hash, mail, about) for killmail_hash, mail in mails])


def _cell(text: str) -> str:
    """A name for a cell: one that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)  # RFC 4180
    return text.getvalue().encode()


def _ids(mail: Killmail) -> list[int]:
    victim, final = mail.victim, next((each for each in mail.attackers if each.final_blow), None)
    ids = [
        mail.solar_system_id,
        victim.character_id,
        victim.corporation_id,
        victim.alliance_id,
        victim.ship_type_id,
    ]
    if final is not None:
        ids += [final.character_id, final.corporation_id, final.alliance_id]
        ids += [final.ship_type_id, final.weapon_type_id]
    return [each for each in ids if each is not None]


def _row(killmail_hash: str, mail: Killmail, about: About) -> list[object]:
    victim, final = mail.victim, next((each for each in mail.attackers if each.final_blow), None)

    def named(number: int | None) -> list[object]:
        name = None if number is None else about.names.get(number)
        return [number, None if name is None else _cell(name)]

    return [
        mail.killmail_id,
        killmail_hash,
        mail.killmail_time.isoformat().replace("+00:00", "Z"),
        *named(mail.solar_system_id),
        *named(victim.character_id),
        *named(victim.corporation_id),
        *named(victim.alliance_id),
        victim.faction_id,
        *named(victim.ship_type_id),
        victim.damage_taken,
        len(mail.attackers),
        *named(final.character_id if final else None),
        *named(final.corporation_id if final else None),
        *named(final.alliance_id if final else None),
        *named(final.ship_type_id if final else None),
        *named(final.weapon_type_id if final else None),
        mail.war_id,
        mail.moon_id,
        "true" if is_solo(mail) else "false",
        "true" if is_npc(mail) else "false",
        *_worth(about.values.get(mail.killmail_id)),
        *_where(about.systems.get(mail.solar_system_id)),
        *_what(about.types.get(victim.ship_type_id)),
    ]


def _worth(value: MailValue | None) -> list[object]:
    if value is None:
        return [None] * 4
    return [f"{value.total / 100:.2f}", f"{value.dropped / 100:.2f}", value.priced_on, value.method]


def _where(facts: SystemFacts | None) -> list[object]:
    if facts is None:
        return [None] * 6
    return [
        displayed(facts.security),
        class_of(facts.region_id, facts.security),
        facts.region_id,
        facts.region,
        facts.constellation_id,
        facts.constellation,
    ]


def _what(facts: TypeFacts | None) -> list[object]:
    return [None, None] if facts is None else [facts.group_id, facts.group]
