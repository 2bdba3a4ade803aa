"""Statistics and the ranking. Each part is a statement of its own, and only read where it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ariadne import EnumType, ObjectType

from killsyncd.api.graphql.context import Context, Entity
from killsyncd.api.graphql.inputs import first_of, id_of
from killsyncd.api.graphql.resolvers.fields import Info, context_of, plain
from killsyncd.api.graphql.resolvers.roots import query
from killsyncd.core.errors import BadInput
from killsyncd.core.model import User
from killsyncd.core.read_model import EntityKind, TooMuch
from killsyncd.core.statistics import Kind, Month, Place, RankBy, RankRow, Subject, Tally, ranked, total_of

MAX_ROWS = 250_000
"""Rows of attackers and victims that one question may count."""

statistics = ObjectType("Statistics")
month = ObjectType("MonthStatistics")
tally = ObjectType("Tally")
rank_row = ObjectType("RankRow")


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose, and of what time. months: read once, for the sums and the months themselves."""

    subject: Subject
    since: datetime
    until: datetime
    months: asyncio.Future[list[Month]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Ranked:
    row: RankRow
    rank: int
    users: list[User]


@query.field("statistics")
async def _statistics(
    _: Any,
    info: Info,
    characterId: str | None = None,
    corporationId: str | None = None,
    ours: bool | None = None,
    **times: datetime,
) -> _Asked:
    reading = context_of(info).services.reading
    since, until = _times(times)
    if sum((characterId is not None, corporationId is not None, bool(ours))) > 1:
        raise BadInput("more than one of characterId, corporationId and ours", "ask once for each")
    if characterId is not None:
        subject = Subject(characters=(id_of(characterId, "characterId"),))
    elif corporationId is not None:
        subject = Subject(corporations=(id_of(corporationId, "corporationId"),))
    else:
        subject = Subject(characters=tuple(await reading.our_characters()))
    if await reading.on_mails(subject, since, until, MAX_ROWS) >= MAX_ROWS:
        raise TooMuch("there are too many killmails to be counted at once", "ask for a shorter time")
    months = asyncio.ensure_future(reading.months(subject, since, until))
    return _Asked(subject, since, until, months)


def _times(times: dict[str, datetime]) -> tuple[datetime, datetime]:
    since, until = times["from"], times["to"]
    if since >= until:
        raise BadInput("from is not before to", "from is included, to is not")
    return since, until


@query.field("ranking")
async def _ranking(
    _: Any, info: Info, by: RankBy, first: int | None = 20, **times: datetime
) -> list[_Ranked]:
    context = context_of(info)
    since, until = _times(times)
    wanted = first_of(20 if first is None else first, context.services.limits)
    rows = ranked(await context.services.reading.ranking(since, until), by, wanted)
    users = await context.services.reading.users(sorted({who for each in rows for who in each.characters}))
    return [
        _Ranked(row, rank, [users[each] for each in row.characters if each in users])
        for rank, row in enumerate(rows, 1)
    ]


_FIELDS = {
    "kills": lambda each: each.kills,
    "losses": lambda each: each.losses,
    "solo": lambda each: each.solo,
    "finalBlows": lambda each: each.final_blows,
    "iskDestroyed": lambda each: each.isk_destroyed / 100,
    "iskLost": lambda each: each.isk_lost / 100,
    "efficiency": lambda each: each.efficiency,
}


def _set(name: str, of: Callable[[Tally], Any]) -> None:
    async def of_all(source: _Asked, _info: Info) -> Any:
        return of(total_of(await source.months))

    statistics.set_field(name, of_all)
    month.set_field(name, lambda each, _info: of(each.tally))
    rank_row.set_field(name, lambda each, _info: of(each.row.tally))


for _name, _of in _FIELDS.items():
    _set(_name, _of)
plain(month, month="begins")
plain(rank_row, rank="rank", users="users")


@rank_row.field("name")
def _rank_name(each: _Ranked, _info: Info) -> str:
    if each.row.name is not None:
        return each.row.name
    return each.users[0].character_name if each.users else str(each.row.characters[0])


@statistics.field("byMonth")
async def _by_month(source: _Asked, _info: Info) -> list[Month]:
    return await source.months


_PARTS = {
    "shipsFlown": (Kind.SHIPS_FLOWN, EntityKind.TYPE),
    "shipsKilled": (Kind.SHIPS_KILLED, EntityKind.TYPE),
    "shipsLost": (Kind.SHIPS_LOST, EntityKind.TYPE),
    "systems": (Kind.SYSTEMS, EntityKind.SYSTEM),
    "regions": (Kind.REGIONS, EntityKind.REGION),
    "opponents": (Kind.OPPONENTS, EntityKind.CORPORATION),
}


def _part(name: str, kind: Kind, of: EntityKind) -> None:
    async def resolve(source: _Asked, info: Info, first: int | None = 10) -> list[tuple[Place, Entity]]:
        context: Context = context_of(info)
        wanted = first_of(10 if first is None else first, context.services.limits)
        places = await context.services.reading.most(kind, source.subject, source.since, source.until, wanted)
        if of is EntityKind.REGION:
            names = await context.services.reading.region_names([each.id for each in places])
            return [(each, Entity(each.id, names.get(each.id), of)) for each in places]
        await context.loaders.know(each.id for each in places)
        return [(each, Entity(each.id, context.loaders.name(each.id), of)) for each in places]

    statistics.set_field(name, resolve)


for _name, (_kind, _entity_kind) in _PARTS.items():
    _part(_name, _kind, _entity_kind)
tally.set_field("entity", lambda pair, _info: pair[1])
tally.set_field("kills", lambda pair, _info: pair[0].kills)
tally.set_field("losses", lambda pair, _info: pair[0].losses)
tally.set_field("isk", lambda pair, _info: pair[0].isk / 100)

BINDABLES = [statistics, month, tally, rank_row, EnumType("RankBy", RankBy)]
