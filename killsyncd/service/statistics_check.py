"""Statistics against the killmails themselves: every document is decoded and counted by hand.

The statistics come out of the tables; this comes out of ESI's JSON, by code that shares nothing with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from killsyncd.core.errors import BadInput
from killsyncd.core.killmail import Killmail, decode
from killsyncd.core.model import User
from killsyncd.core.read_model import MailValue
from killsyncd.core.statistics import Month, Subject, Tally, total_of
from killsyncd.service.operations import Operations
from killsyncd.service.ports import StoredDocument

PAGE = 200
SINCE, UNTIL = datetime(1971, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class CheckedRows(Protocol):
    """The database: the statistics, and what they are checked against."""

    async def months(self, subject: Subject, since: datetime, until: datetime) -> list[Month]: ...


class Documents(Protocol):
    """Killmails as ESI sent them, and what they are worth."""

    async def documents_after(
        self, killmail_id: int, limit: int, *, since: datetime | None, character_id: int | None
    ) -> list[StoredDocument]: ...
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


class StatisticsCheck:
    """Recounts. It takes as long as reading every killmail of the pilots does."""

    def __init__(self, statistics: CheckedRows, documents: Documents, operations: Operations) -> None:
        self._statistics = statistics
        self._documents = documents
        self._operations = operations

    async def check(self, selector: str | None) -> list[Checked]:
        """One user, or all of them. Raises NotFound, UsageError, Unavailable."""
        if selector is None:
            users = await self._operations.users()
        else:
            users = [await self._operations.user(selector)]
        return [await self._of(each) for each in users]

    async def _of(self, user: User) -> Checked:
        counted, after = Tally(), 0
        while page := await self._documents.documents_after(
            after, PAGE, since=None, character_id=user.character_id
        ):
            values = await self._documents.values([each.killmail_id for each in page])
            for each in page:
                try:
                    counted += tally_of(decode(each.raw), user.character_id, values)
                except BadInput:
                    continue  # `killsyncd check` tells of documents that are no killmails
            after = page[-1].killmail_id
        subject = Subject(characters=(user.character_id,))
        told = total_of(await self._statistics.months(subject, SINCE, UNTIL))
        why = differences(told, counted)
        return Checked(
            user.character_id,
            user.character_name,
            not why,
            told.kills,
            told.losses,
            counted.kills,
            counted.losses,
            why,
        )


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
