"""What the API needs of others, as small Protocols. The daemon wires them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from killsyncd.auth.login import PendingLogin
from killsyncd.auth.login_state import LoginOrigin, LoginReturn
from killsyncd.core.model import Queued, User
from killsyncd.core.read_model import (
    Attacker,
    DayActivity,
    FeedPoint,
    FeedSlice,
    Involved,
    Item,
    Mail,
    MailFilter,
    MailPage,
    MailSize,
    Order,
    Victim,
)
from killsyncd.service import LoginEnded, StatusReport


class KillmailReader(Protocol):
    """Stored mails (`storage/reading.py`). Batches are one statement, however many ids."""

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
    async def activity(self, days: int, now: datetime) -> list[DayActivity]: ...


class ApiOperations(Protocol):
    """What the API does and asks (`operations.Operations`)."""

    async def status(self) -> StatusReport: ...
    async def users(self) -> list[User]: ...
    async def queue(
        self, selectors: Sequence[str] | None = None, *, force: bool = False, full: bool = False
    ) -> list[Queued]: ...
    async def begin_login(self, door: LoginOrigin) -> PendingLogin: ...
    async def finish_login(
        self, at: LoginReturn, query: Mapping[str, str], cookie: str | None = None
    ) -> LoginEnded: ...


class EndedSessions(Protocol):
    """Sessions of the dashboard that were ended before their time (`storage/repositories/sessions.py`)."""

    async def load(self) -> dict[str, float]: ...
    async def end(self, session: str, until: float) -> None: ...


Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Why the daemon is not ready (database not writable, schema not current, draining); empty when it is."""

MetricsText = Callable[[], Awaitable[bytes]]
"""The metrics in Prometheus' text format."""

Listen = Callable[[str, Callable[[], None]], Callable[[], None]]
"""Hear of a channel (`events.Events.on`): answers a function that ends it."""
