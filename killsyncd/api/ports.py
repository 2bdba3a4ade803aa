"""What the API reads and keeps in the database by itself; `storage/repositories` fills it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Protocol

from killsyncd.core.model import User
from killsyncd.core.read_model import (
    Attacker,
    DayActivity,
    EntityKind,
    FeedPoint,
    FeedSlice,
    Found,
    Involved,
    Item,
    Mail,
    MailFilter,
    MailPage,
    MailSize,
    MailValue,
    Order,
    SystemFacts,
    TypeFacts,
    Victim,
)


class KillmailReader(Protocol):
    """Stored mails. Batches are one statement, however many ids."""

    async def page(
        self, given: MailFilter, order: Order, first: int, after: str | None = None
    ) -> MailPage: ...
    async def count(self, given: MailFilter) -> int: ...
    async def pages_of(
        self, characters: Sequence[int], first: int, after: str | None = None
    ) -> dict[int, MailPage]: ...
    async def counts_of(self, characters: Sequence[int]) -> dict[int, int]: ...
    async def mails(self, ids: Sequence[int]) -> dict[int, Mail]: ...
    async def sizes(self, ids: Sequence[int]) -> dict[int, MailSize]: ...
    async def victims(self, ids: Sequence[int]) -> dict[int, Victim]: ...
    async def attackers(self, ids: Sequence[int]) -> dict[int, list[Attacker]]: ...
    async def final_blows(self, ids: Sequence[int]) -> dict[int, Attacker]: ...
    async def items(self, ids: Sequence[int]) -> dict[int, list[Item]]: ...
    async def documents(self, ids: Sequence[int]) -> dict[int, bytes]: ...
    async def names(self, ids: Sequence[int]) -> dict[int, str]: ...
    async def involved(self, ids: Sequence[int]) -> dict[int, list[Involved]]: ...
    async def users(self, characters: Sequence[int]) -> dict[int, User]: ...
    async def feed_point(self) -> FeedPoint: ...
    async def feed_after(
        self,
        position: int,
        limit: int,
        *,
        characters: frozenset[int] | None = None,
        fresh_only: bool = False,
    ) -> FeedSlice: ...
    async def systems(self, ids: Sequence[int]) -> dict[int, SystemFacts]: ...
    async def types(self, ids: Sequence[int]) -> dict[int, TypeFacts]: ...
    async def values(self, ids: Sequence[int]) -> dict[int, MailValue]: ...
    async def search(self, text: str, kinds: Collection[EntityKind] | None, first: int) -> list[Found]: ...
    async def activity(self, days: int, now: datetime) -> list[DayActivity]: ...


class StackPrices(Protocol):
    """What items were worth."""

    async def stack_cents(self, day: date, item: Item) -> int | None:
        """An item, without what it holds, on the day of its kill; None where its type has no price."""


class EndedSessions(Protocol):
    """Sessions of the dashboard that were ended before their time."""

    async def load(self) -> dict[str, float]: ...
    async def end(self, session: str, until: float) -> None: ...
