"""Statistics against the killmails themselves: every document is decoded and counted by hand.

The statistics come out of the tables; this comes out of ESI's JSON, by code that shares nothing with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol

from killsyncd.core.errors import BadInput
from killsyncd.core.killmail import Killmail, decode
from killsyncd.core.model import User
from killsyncd.core.read_model import MailValue
from killsyncd.core.statistics import Month, Subject, Tally, total_of
from killsyncd.service.import_export import rest_of
from killsyncd.service.operations import Operations
from killsyncd.service.ports import StoredDocument

PAGE = 200
TURN = 20
"""Mails that are decoded before others get their turn at the loop."""

IDS = 20_000
"""Ids of one pilot's mails that are read at once."""

LOOKS = 3
"""How often a pilot is counted whose sums differ: mails and values may have changed meanwhile."""

SINCE, UNTIL = datetime(1971, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class CheckedRows(Protocol):
    """The database: the statistics, and what they are checked against."""

    async def months(self, subject: Subject, since: datetime, until: datetime) -> list[Month]: ...


class Documents(Protocol):
    """Killmails as ESI sent them, and what they are worth."""

    async def stored(self) -> int: ...
    async def documents_after(
        self, killmail_id: int, limit: int, *, since: datetime | None
    ) -> list[StoredDocument]: ...
    async def ids_of(self, character_id: int, after: int, limit: int) -> list[int]: ...
    async def documents_of(self, ids: Sequence[int]) -> list[StoredDocument]: ...
    async def values(self, ids: Sequence[int]) -> dict[int, MailValue]: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A pilot's sums. counted: from the documents; where it agrees they say the same."""

    character_id: int
    character_name: str
    agrees: bool
    kills: int
    losses: int
    counted_kills: int
    counted_losses: int
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recount is. of: killmails there are, as far as that is known."""

    read: int
    of: int


@dataclass(slots=True)
class _Counted:
    """What the documents say of one pilot. years: in which something was."""

    tally: Tally = field(default_factory=Tally)
    years: set[int] = field(default_factory=set)


class StatisticsCheck:
    """Recounts. It takes as long as reading every killmail does: minutes for a million."""

    def __init__(self, statistics: CheckedRows, documents: Documents, operations: Operations) -> None:
        self._statistics = statistics
        self._documents = documents
        self._operations = operations

    async def check(self, selector: str | None) -> AsyncIterator[Progress | list[Checked]]:
        """One user, or all of them: how far it is, as it goes on, and at last what was found.

        Raises NotFound, UsageError, Unavailable.
        """
        if selector is None:
            users = await self._operations.users()
            pages = self._all()
            total = await self._documents.stored()
        else:
            users = [await self._operations.user(selector)]
            pages, total = self._of(users[0].character_id), 0
        counted = {each.character_id: _Counted() for each in users}
        read = 0
        async for page in pages:
            await self._count(page, counted)
            read += len(page)
            yield Progress(read, max(read, total))
        yield [await self._compared(user, counted[user.character_id]) for user in users]

    async def _all(self) -> AsyncIterator[list[StoredDocument]]:
        after = 0
        while page := await self._documents.documents_after(after, PAGE, since=None):
            yield page
            after = page[-1].killmail_id

    async def _of(self, character_id: int) -> AsyncIterator[list[StoredDocument]]:
        after = 0
        while ids := await self._documents.ids_of(character_id, after, IDS):
            after = ids[-1]
            while ids:
                page = await self._documents.documents_of(ids[:PAGE])
                yield page
                ids = rest_of(ids, PAGE, page)

    async def _count(self, page: Sequence[StoredDocument], into: Mapping[int, _Counted]) -> None:
        values = await self._documents.values([each.killmail_id for each in page])
        for number, each in enumerate(page, 1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            try:
                mail = decode(each.raw)
            except BadInput:
                continue  # `killsyncd check` tells of documents that are no killmails
            for character_id in _pilots(mail) & into.keys():
                found = into[character_id]
                found.tally += tally_of(mail, character_id, values)
                found.years.add(mail.killmail_time.year)

    async def _compared(self, user: User, counted: _Counted) -> Checked:
        """Against the statistics; counted again where they differ, since mails come and values change."""
        told = await self._told(user.character_id, counted.years)
        for _ in range(LOOKS - 1):
            if not differences(told, counted.tally):
                break
            counted = await self._counted(user.character_id)
            told = await self._told(user.character_id, counted.years)
        why = differences(told, counted.tally)
        return Checked(
            user.character_id,
            user.character_name,
            not why,
            told.kills,
            told.losses,
            counted.tally.kills,
            counted.tally.losses,
            why,
        )

    async def _counted(self, character_id: int) -> _Counted:
        again = {character_id: _Counted()}
        async for page in self._of(character_id):
            await self._count(page, again)
        return again[character_id]

    async def _told(self, character_id: int, years: set[int]) -> Tally:
        """All time, a year a statement: none of them has to read everything."""
        begins = [SINCE, *(datetime(each, 1, 1, tzinfo=UTC) for each in sorted(years)), UNTIL]
        found = Tally()
        for since, until in pairwise(begins):
            subject = Subject(characters=(character_id,))
            found += total_of(await self._statistics.months(subject, since, until))
        return found


def _pilots(mail: Killmail) -> set[int]:
    on_it = {mail.victim.character_id, *(each.character_id for each in mail.attackers)}
    return {each for each in on_it if each is not None}


def tally_of(mail: Killmail, character_id: int, values: Mapping[int, MailValue]) -> Tally:
    """One killmail, by the words of the documents."""
    value = values.get(mail.killmail_id)
    worth = float(value.total) if value is not None else 0.0
    shot = [each for each in mail.attackers if each.character_id == character_id]
    # Solo: one player, whatever NPCs shot along; a structure of players is nobody's solo.
    players = [each for each in mail.attackers if each.character_id is not None]
    theirs = [
        each
        for each in mail.attackers
        if each.character_id is None and each.corporation_id is not None and each.corporation_id > 1_999_999
    ]
    found = Tally()
    if shot:
        found += Tally(
            kills=1,
            solo=int(len(players) == 1 and not theirs and mail.victim.character_id is not None),
            final_blows=int(any(each.final_blow for each in shot)),
            isk_destroyed=worth,
        )
    if mail.victim.character_id == character_id:
        found += Tally(losses=1, isk_lost=worth)
    return found


def differences(told: Tally, counted: Tally) -> str:
    """What is not the same, in words; empty where all is. ISK may differ by a rounding of the sum."""
    found = [
        f"{name.replace('_', ' ')}: {getattr(told, name)} told, {getattr(counted, name)} counted"
        for name in ("kills", "losses", "solo", "final_blows")
        if getattr(told, name) != getattr(counted, name)
    ]
    for name in ("isk_destroyed", "isk_lost"):
        one, other = getattr(told, name), getattr(counted, name)
        if abs(one - other) > max(1.0, other * 1e-12):
            found.append(f"{name.replace('_', ' ')}: {one / 100:.2f} told, {other / 100:.2f} counted")
    return "; ".join(found)
