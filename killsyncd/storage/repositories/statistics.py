"""Kills and losses of a time, counted when they are asked for: nothing is kept that could differ from them.

Mails of a subject come out of the indexes in the order of time, so the work is that of the mails counted.
"""

from __future__ import annotations

from datetime import datetime

from killsyncd.core.statistics import Kind, Month, Place, RankRow, Subject, Tally, months_of
from killsyncd.storage.repositories.paging import whole_seconds
from killsyncd.storage.repository import Repository, reads
from killsyncd.storage.transaction import Ids, Row, Run, Sql, Tx, one

_ISK = "COALESCE(SUM(CAST(w.total AS {real})), 0) AS isk"
_WORTH = " LEFT JOIN killmail_values w ON w.killmail_id = x.killmail_id"
_MAIL = " JOIN killmails k ON k.killmail_id = x.killmail_id"
_VICTIM = " JOIN victims v ON v.killmail_id = x.killmail_id"
_SYSTEM = f"{_MAIL} JOIN solar_systems s ON s.system_id = k.solar_system_id"
_KEYS: dict[Kind, tuple[tuple[str, str] | None, tuple[str, str] | None]] = {
    # What is counted, and where it is: of the mails (x) that were shot, and of those that were lost.
    Kind.SHIPS_KILLED: (("v.ship_type_id", _VICTIM), None),
    Kind.SHIPS_LOST: (None, ("v.ship_type_id", _VICTIM)),
    Kind.SYSTEMS: (("k.solar_system_id", _MAIL), ("k.solar_system_id", _MAIL)),
    Kind.REGIONS: (("s.region_id", _SYSTEM), ("s.region_id", _SYSTEM)),
    Kind.OPPONENTS: (
        ("v.corporation_id", f"{_VICTIM} AND v.corporation_id IS NOT NULL"),
        ("x.corporation_id", ""),
    ),
}


def _of(table: str, column: str, joined: str = "") -> str:
    """Rows of a subject in a time."""
    times = "t.killed_at >= :since AND t.killed_at < :until"
    return f"FROM {table} t {joined}WHERE t.{column} {{in_ids}} AND {times}"


def _shot(column: str) -> str:
    """Mails with one of the subject's among the attackers, and whether it struck the final blow."""
    blow = "MAX(CASE WHEN t.final_blow = {true} THEN 1 ELSE 0 END) AS blow"
    return f"SELECT t.killmail_id, {blow} {_of('attackers', column)} GROUP BY t.killmail_id"


def _lost(column: str, kind: Kind | None = None) -> str:
    """Mails with one of the subject's as the victim; for opponents, with whose final blow it was."""
    if kind is Kind.OPPONENTS:
        blows = "b.killmail_id = t.killmail_id AND b.final_blow = {true} AND b.corporation_id IS NOT NULL"
        return (
            "SELECT DISTINCT t.killmail_id, b.corporation_id "
            f"{_of('victims', column, 'CROSS JOIN attackers b ')} AND {blows}"
        )
    return f"SELECT t.killmail_id {_of('victims', column)}"


def _kills_by_month(column: str) -> str:
    return (
        "SELECT {month} AS month, COUNT(*) AS n, SUM(CASE WHEN k.solo = {true} THEN 1 ELSE 0 END) AS solo,"
        f" SUM(x.blow) AS blows, {_ISK} FROM ({_shot(column)}) x{_MAIL}{_WORTH} GROUP BY 1"
    )


def _losses_by_month(column: str) -> str:
    return (
        f"SELECT {{month}} AS month, COUNT(*) AS n, {_ISK} FROM ({_lost(column)}) x{_MAIL}{_WORTH} GROUP BY 1"
    )


def _counted(key: tuple[str, str], mails: str) -> str:
    return f"SELECT {key[0]} AS id, COUNT(*) AS n, {_ISK} FROM ({mails}) x{key[1]}{_WORTH} GROUP BY 1"


def _flown(column: str) -> str:
    mails = (
        f"SELECT DISTINCT t.ship_type_id AS id, t.killmail_id {_of('attackers', column)}"
        " AND t.ship_type_id IS NOT NULL"
    )
    return (
        f"SELECT x.id, COUNT(*) AS n, {_ISK} FROM ({mails}) x{_WORTH}"
        " GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1 LIMIT :first"
    )


def _whose(subject: Subject) -> tuple[str, Ids]:
    if subject.characters is not None:
        return "character_id", Ids(subject.characters)
    return "corporation_id", Ids(subject.corporations or ())


def _seconds(moment: datetime) -> int:
    return int(whole_seconds(moment).timestamp())


class StatisticsReads(Repository):
    """The part of the store's read side that counts."""

    @reads
    def months(self, subject: Subject, since: datetime, until: datetime) -> Tx[list[Month]]:
        """Month by month, the first first; since <= time of the kill < until."""
        column, ids = _whose(subject)
        params = {"ids": ids, "since": _seconds(since), "until": _seconds(until)}
        found: dict[str, Tally] = {}
        for row in (yield Sql(_kills_by_month(column), params)):
            found[str(row["month"])] = Tally(
                kills=int(row["n"]),
                solo=int(row["solo"]),
                final_blows=int(row["blows"]),
                isk_destroyed=float(row["isk"]),
            )
        for row in (yield Sql(_losses_by_month(column), params)):
            lost = Tally(losses=int(row["n"]), isk_lost=float(row["isk"]))
            found[str(row["month"])] = found.get(str(row["month"]), Tally()) + lost
        return months_of(since, until, found)

    @reads
    def most(
        self, kind: Kind, subject: Subject, since: datetime, until: datetime, first: int
    ) -> Tx[list[Place]]:
        """What there was most of, by kills and losses together."""
        column, ids = _whose(subject)
        params = {"ids": ids, "since": _seconds(since), "until": _seconds(until)}
        if kind is Kind.SHIPS_FLOWN:
            rows = yield Sql(_flown(column), {**params, "first": first})
            return [_place(row, kills=int(row["n"])) for row in rows]
        shot, lost = _KEYS[kind]
        found: dict[int, Place] = {}
        if shot is not None:
            for row in (yield Sql(_counted(shot, _shot(column)), params)):
                found[int(row["id"])] = _place(row, kills=int(row["n"]))
        if lost is not None:
            for row in (yield Sql(_counted(lost, _lost(column, kind)), params)):
                each = _place(row, losses=int(row["n"]))
                before = found.get(each.id, Place(each.id, 0, 0, 0.0))
                found[each.id] = Place(each.id, before.kills, each.losses, before.isk + each.isk)
        order = sorted(found.values(), key=lambda each: (-each.kills - each.losses, -each.isk, each.id))
        return order[:first]

    @reads
    def on_mails(self, subject: Subject, since: datetime, until: datetime, limit: int) -> Tx[int]:
        """How many rows there are to be counted, up to a limit."""
        column, ids = _whose(subject)
        text = " UNION ALL ".join(
            f"SELECT * FROM (SELECT 1 {_of(table, column)} LIMIT :limit) AS {table}"
            for table in ("attackers", "victims")
        )
        params = {"ids": ids, "limit": limit, "since": _seconds(since), "until": _seconds(until)}
        row = one((yield Sql(f"SELECT COUNT(*) AS n FROM ({text}) AS counted", params)))
        return 0 if row is None else int(row["n"])

    @reads
    def our_characters(self) -> Tx[list[int]]:
        """Everybody who logged in."""
        return [int(row["character_id"]) for row in (yield Run("statistics.characters", {}))]

    @reads
    def ranking(self, since: datetime, until: datetime) -> Tx[list[RankRow]]:
        """All our pilots, those of a group together: a mail of two of them counts once."""
        groups: dict[str, tuple[str | None, list[int]]] = {}
        for row in (yield Run("statistics.pilots", {})):
            groups.setdefault(str(row["subject"]), (row["name"], []))[1].append(int(row["character_id"]))
        tallies: dict[str, Tally] = {}
        times = {"since": _seconds(since), "until": _seconds(until)}
        for row in (yield Run("statistics.kills", times)):
            tallies[str(row["subject"])] = Tally(
                kills=int(row["n"]),
                solo=int(row["solo"]),
                final_blows=int(row["blows"]),
                isk_destroyed=float(row["isk"]),
            )
        for row in (yield Run("statistics.losses", times)):
            lost = Tally(losses=int(row["n"]), isk_lost=float(row["isk"]))
            tallies[str(row["subject"])] = tallies.get(str(row["subject"]), Tally()) + lost
        return [
            RankRow(name, tuple(characters), tallies.get(subject, Tally()))
            for subject, (name, characters) in groups.items()
        ]


def _place(row: Row, *, kills: int = 0, losses: int = 0) -> Place:
    return Place(int(row["id"]), kills, losses, float(row["isk"]))
