"""What prices and values need of the database; `storage/repositories/prices.py` and `values.py` fill it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from killsyncd.pricing.facts import StaticFacts
from killsyncd.pricing.valuation import ItemRow, Valuation

Day = int
"""A day as the tables have it: 20261130."""


@dataclass(frozen=True, slots=True)
class EsiDay:
    """A day whose prices we have from ESI. expires_at: until when ESI's answer is cached (wall clock). types:
    how many have a price."""

    day: Day
    expires_at: float
    types: int


@dataclass(frozen=True, slots=True)
class PriceIndex:
    """Which days there are, in order, and on which a type was priced first and last.

    version: differs whenever a day came or went.
    """

    version: tuple[float, ...] = ()
    esi: Sequence[Day] = ()
    history: Sequence[Day] = ()
    types: array[int] = field(default_factory=lambda: array("q"))
    first: array[int] = field(default_factory=lambda: array("q"))
    last: array[int] = field(default_factory=lambda: array("q"))


class PriceRows(Protocol):
    """Prices by the day."""

    async def version(self) -> tuple[float, ...]:
        """As `PriceIndex.version`."""

    async def index(self) -> PriceIndex: ...

    async def esi_day(self, day: Day) -> bytes | None:
        """Packed prices; None where there are none of this day."""

    async def history_day(self, day: Day) -> bytes | None: ...

    async def latest(self) -> EsiDay | None:
        """The latest day from ESI."""

    async def put_esi(self, day: Day, packed: bytes, types: Sequence[int], expires_at: float) -> None:
        """Keep a day's prices. A day that is there already stays as it is: mails were valued by it."""

    async def carry(self, day: Day) -> None:
        """The answer that the latest day came from still holds: have it for this day, too."""

    async def put_history(self, day: Day, packed: bytes | None, types: Sequence[int], wait: float) -> None:
        """Keep a day's history. packed: None where there is no file of that day; asked again in `wait` s."""

    async def attempts(self, day: Day) -> int:
        """How often a day's history was asked for in vain."""

    async def wanted_days(self, before: datetime, limit: int) -> list[Day]:
        """Days of stored killmails that have no prices of their own, the latest first."""

    async def filled(self) -> int:
        """How many days of history there are."""


@dataclass(slots=True)
class Kill:
    """A stored mail as far as its value goes.

    killed_at: seconds since 1970. value: what is written down, None where nothing is.
    """

    killmail_id: int
    killed_at: int
    feed_position: int
    day: Day
    hull: int
    items: Sequence[ItemRow]
    value: Valued | None = None


@dataclass(slots=True)
class Valued:
    """A mail's value. killed_at: seconds since 1970. unknown: how many of its types the static data do not
    know.
    """

    killmail_id: int
    killed_at: int
    valuation: Valuation
    unknown: int


@dataclass(frozen=True, slots=True)
class Work:
    """How things stand. held: this daemon holds the task. position: up to where in the feed mails were looked
    at; feed: its end.

    build: in the tables. version: of the prices. unapplied: days whose prices came since, each with the days
    whose mails it concerns (first, last; both included) and whether it is of the market's history.
    passes: name to (position, until) of passes over stored mails that are under way.
    """

    held: bool
    position: int
    feed: int
    build: int
    version: tuple[float, ...]
    unapplied: Sequence[tuple[Day, Day, Day, bool]]
    passes: dict[str, tuple[int, int]]
    validators: dict[str, str | None]


class ValueRows(Protocol):
    """Stored mails and their values. What writes needs that this daemon holds the task."""

    async def claim(self) -> bool:
        """Take the task; False: another daemon is at it."""

    async def work(self) -> Work: ...

    async def build(self) -> int:
        """The build of the static data in the tables; 0 for none."""

    async def facts(self) -> StaticFacts: ...

    async def kills_after(self, position: int, until: int, kind: str, limit: int) -> tuple[list[Kill], int]:
        """Mails of the feed in (position, until], and up to where it was looked.

        kind: the pass, which leaves out mails that it does not concern.
        """

    async def kills_of(
        self, first: Day, last: Day, after: tuple[datetime, int] | None, limit: int
    ) -> tuple[list[Kill], tuple[datetime, int] | None]:
        """Mails of these days, and where to go on (None: that was all)."""

    async def keep(self, kind: str, position: int, values: Sequence[Valued]) -> bool:
        """Write values down, and how far this pass is, in one transaction.

        False: this daemon does not hold the task any more, and nothing was written.
        """

    async def applied(self, day: Day, history: bool) -> None:
        """The mails that a day concerns are valued by it."""

    async def start_pass(self, kind: str, validator: str | None) -> None:
        """Look at every mail again, from the first on. validator: what for."""
