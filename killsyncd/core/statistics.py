"""What pilots and corporations did in a time: kills and losses, counted and in ISK."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose: these characters, or these corporations. A mail counts once, however many are on it."""

    characters: tuple[int, ...] | None = None
    corporations: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Of one month, one pilot, or all. isk_*: hundredths of an ISK; mails without a value count as nothing.

    kills: mails with one of the subject's among the attackers; solo, final_blows: of these. losses: mails
    with one as the victim. A mail can be both.
    """

    kills: int = 0
    losses: int = 0
    solo: int = 0
    final_blows: int = 0
    isk_destroyed: float = 0.0
    isk_lost: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.kills + other.kills,
            self.losses + other.losses,
            self.solo + other.solo,
            self.final_blows + other.final_blows,
            self.isk_destroyed + other.isk_destroyed,
            self.isk_lost + other.isk_lost,
        )

    @property
    def efficiency(self) -> float | None:
        """The part of all ISK that was the others', 0 to 1; None where there was none at all."""
        both = self.isk_destroyed + self.isk_lost
        return self.isk_destroyed / both if both else None


@dataclass(frozen=True, slots=True)
class Month:
    """A month (UTC) and what was done in it."""

    begins: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class Place:
    """Something that a subject met often: a ship, a system, a corporation. isk: of those mails."""

    id: int
    kills: int
    losses: int
    isk: float


class Kind(enum.StrEnum):
    """What the most frequent of are looked for."""

    SHIPS_FLOWN = "ships_flown"
    SHIPS_KILLED = "ships_killed"
    SHIPS_LOST = "ships_lost"
    SYSTEMS = "systems"
    REGIONS = "regions"
    OPPONENTS = "opponents"


class RankBy(enum.StrEnum):
    """What a ranking is by."""

    KILLS = "KILLS"
    LOSSES = "LOSSES"
    SOLO = "SOLO"
    FINAL_BLOWS = "FINAL_BLOWS"
    ISK_DESTROYED = "ISK_DESTROYED"
    ISK_LOST = "ISK_LOST"
    EFFICIENCY = "EFFICIENCY"

    def of(self, tally: Tally) -> float:
        """What is compared."""
        found = getattr(tally, self.value.lower())
        return -1.0 if found is None else float(found)


@dataclass(frozen=True, slots=True)
class RankRow:
    """A pilot, or several who are one player. name: of the group; None for a pilot alone."""

    name: str | None
    characters: tuple[int, ...]
    tally: Tally


def months_of(since: datetime, until: datetime, found: dict[str, Tally]) -> list[Month]:
    """Every month from the first to the last with something in it. found: by `2026-11`."""
    if not found:
        return []
    first, last = min(found), max(found)
    year, month = int(first[:4]), int(first[5:7])
    months = []
    while (key := f"{year:04}-{month:02}") <= last:
        months.append(Month(datetime(year, month, 1, tzinfo=UTC), found.get(key, Tally())))
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return months


def total_of(months: Iterable[Month]) -> Tally:
    """All of them together: a mail is in one month alone."""
    return sum((each.tally for each in months), Tally())


def ranked(rows: Sequence[RankRow], by: RankBy, first: int) -> list[RankRow]:
    """The best of them; those with nothing to be ranked by are left out."""
    some = [each for each in rows if by.of(each.tally) > 0]
    some.sort(key=lambda each: (-by.of(each.tally), -each.tally.kills, each.characters))
    return some[:first]
