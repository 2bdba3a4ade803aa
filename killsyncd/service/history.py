"""Killmails from before: days of public archives that were read, and refs that somebody brings.

The archives themselves are read by whoever asks for them (`killsyncd import`), not by the daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from killsyncd.core.clock import Clock
from killsyncd.core.killmail import is_hash
from killsyncd.service.import_export import KEPT_ERRORS, BadLine, split_lines
from killsyncd.sync.walk import Sighted

PAGE = 1000
"""Refs written down at once."""

LARGEST_ID = 2**63 - 1
HEADER = b"killmail_id,killmail_hash"


@dataclass(frozen=True, slots=True)
class DayRead:
    """A day of an archive that was read to its end. day: YYYYMMDD. scope: whose mails were kept.

    mails: how many there were. kept: of them, whom the scope meant; stored: that were new; refused: bad.
    """

    archive: str
    scope: str
    day: int
    mails: int
    kept: int
    stored: int
    refused: int


@dataclass(frozen=True, slots=True)
class HistoryState:
    """What was read for a scope (day: mails), of which days something was refused, and who is ours."""

    days: Mapping[int, int]
    refused: Sequence[int]
    characters: Sequence[int]
    corporations: Sequence[int]


@dataclass(slots=True)
class RefsReport:
    """How far refs were taken. wanted: that ESI is to be asked for; known: stored already."""

    lines: int = 0
    wanted: int = 0
    known: int = 0
    bad: int = 0
    errors: list[BadLine] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        """Note a bad line."""
        self.bad += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(BadLine(line, reason))


class HistoryRows(Protocol):
    """The database. Every method raises Unavailable where it does not answer."""

    async def days(self, archive: str, scope: str) -> Mapping[int, int]:
        """Days (YYYYMMDD) that were read for this scope, and how many mails they had then."""

    async def days_refused(self, archive: str, scope: str) -> Sequence[int]:
        """Days of which something was refused when they were read."""

    async def day_read(self, day: DayRead) -> None:
        """A day was read to its end."""

    async def ours(self) -> tuple[Sequence[int], Sequence[int]]:
        """Our pilots, and the corporations whose lists are read."""

    async def want(self, pairs: Sequence[tuple[int, str]], at: float) -> Sighted:
        """Ids and hashes that somebody brings: what is not stored is wanted from ESI."""


class HistoryImports:
    """The use cases. wanted: called when refs came that are to be fetched."""

    def __init__(self, rows: HistoryRows, clock: Clock, wanted: Callable[[], None] = lambda: None) -> None:
        self._rows = rows
        self._clock = clock
        self._wanted = wanted

    async def state(self, archive: str, scope: str) -> HistoryState:
        """What was read already, and who is ours."""
        characters, corporations = await self._rows.ours()
        refused = await self._rows.days_refused(archive, scope)
        return HistoryState(await self._rows.days(archive, scope), refused, characters, corporations)

    async def day_read(self, day: DayRead) -> None:
        """A day was read to its end: it is not read again unless it grows."""
        await self._rows.day_read(day)

    async def import_refs(self, chunks: AsyncIterator[bytes], report: RefsReport | None = None) -> RefsReport:
        """Take lines of `killmail_id,killmail_hash`. A bad line is reported and passed over.

        report: filled as it goes. Raises Unavailable when the database does not take any more.
        """
        report = report if report is not None else RefsReport()
        pairs: list[tuple[int, str]] = []
        async for number, line in split_lines(chunks):
            report.lines = number
            text = (line or b"").strip()
            if line is not None and (not text or (number == 1 and text == HEADER)):
                continue
            pair = _pair(text)
            if pair is None:
                report.refuse(number, "not killmail_id,killmail_hash: a number and 40 hexadecimal digits")
                continue
            pairs.append(pair)
            if len(pairs) >= PAGE:
                await self._keep(pairs, report)
                pairs = []
        await self._keep(pairs, report)
        return report

    async def _keep(self, pairs: Sequence[tuple[int, str]], report: RefsReport) -> None:
        if not pairs:
            return
        sighted = await self._rows.want(pairs, self._clock.now())
        report.known += sighted.stored
        report.wanted += sighted.listed - sighted.stored
        if sighted.listed > sighted.stored:
            self._wanted()


def _pair(text: bytes) -> tuple[int, str] | None:
    """Id and hash of a line; None where it holds none. What it holds is repeated nowhere."""
    killmail_id, _, killmail_hash = text.partition(b",")
    if not killmail_id.isdigit() or len(killmail_id) > 19 or not killmail_hash.isascii():
        return None
    number, digits = int(killmail_id), killmail_hash.decode("ascii").strip().lower()
    return (number, digits) if 0 < number <= LARGEST_ID and is_hash(digits) else None
