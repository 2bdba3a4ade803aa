"""Values stored killmails, behind the feed and never before it.

A mail is on the screen first; the event that says so wakes this task, which follows the feed with a cursor in
the database. What is known better later is valued again: a day whose prices have come, the operator's own
prices, types that the static data did not know. A batch's values and the cursor are one transaction, so that
a process killed at any moment has done a batch or has not. One daemon values for all that share the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from killsyncd.core.background import OVERRIDDEN, UNKNOWN, VALUES
from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput, RowRefused, Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.pricing.book import PriceBook, types_of
from killsyncd.pricing.overrides import Overrides, read_overrides
from killsyncd.pricing.ports import Kill, PriceRows, Valued, ValueRows, Work
from killsyncd.pricing.valuation import Unit, is_capsule, sum_up

BATCH = 200
"""Mails of a transaction: it holds the database's writer for some milliseconds, the loop for two or three."""

BATCHES = 20
"""Batches of a backlog before it is looked again what else there is to do."""

PAUSE = 0.005
"""Seconds between two batches of a backlog, in which others get their turn."""

WINDOW = 5000
"""Feed positions that a pass looks through at once for mails that concern it."""

LOOK_EVERY = 10.0
"""Seconds after which it looks again without being woken."""

GATHER = 0.2
"""Seconds to let more mails come before some are valued: few at a time cost more each."""

DAYS = "days"

log = get_logger(__name__)


class Valuer:
    """The task. overrides: the operator's file. report, clear: tell health what is wrong with it.

    valued: called when values were written down.
    """

    def __init__(
        self,
        values: ValueRows,
        prices: PriceRows,
        clock: Clock,
        *,
        overrides: Path | None,
        report: Callable[[str, str], None],
        clear: Callable[[str], None],
        valued: Callable[[], None],
    ) -> None:
        self._rows = values
        self._book = PriceBook(prices)
        self._clock = clock
        self._path = overrides
        self._report = report
        self._clear = clear
        self._valued = valued
        self._signal = Wakeup()
        self._reload = True
        self._overrides_known = False
        self._without_file = False
        self._build = -1
        self._states = StateLog(log)
        self.done = 0
        """Mails valued since the start, those valued again included."""

    @property
    def overrides(self) -> Overrides:
        """The operator's prices, as they were read last."""
        return self._book.overrides

    def wake(self) -> None:
        """There may be something to value."""
        self._signal.ring()

    def read_again(self, path: Path | None) -> None:
        """Read the operator's file again."""
        self._path, self._reload = path, True
        self._signal.ring()

    async def run(self) -> None:
        """Value until cancelled."""
        while True:
            try:
                more = await self._round()
            except (Unavailable, RowRefused) as error:
                # RowRefused: a mail was erased in between, or the claim fell with its daemon's row.
                self._states.set("values", "failing", "killmails cannot be valued", reason=error.message)
                await self._signal.wait(self._clock, LOOK_EVERY)
                continue
            self._states.set("values", "ok", "killmails are valued again")
            if not more and await self._signal.wait(self._clock, LOOK_EVERY):
                await self._clock.sleep(GATHER)

    async def _round(self) -> bool:
        """Do one batch of what matters most; answers whether there is more."""
        work = await self._rows.work()
        if not work.held:
            return await self._rows.claim()
        if self._reload:
            await self._read_overrides()
        if await self._take_in(work):
            return True
        if not self._book.empty and work.position < work.feed:
            return await self._follow(work)
        if work.unapplied:
            await self._apply_day(*work.unapplied[0])
            return True
        for kind, (position, until) in work.passes.items():
            await self._pass(kind, position, until)
            return True
        return False

    async def _take_in(self, work: Work) -> bool:
        """New prices, another build, another file of the operator's. True: a pass was begun."""
        facts = None
        if work.build != self._build:
            facts = await self._rows.facts()
            self._build = work.build
        await self._book.refresh(work.version, facts)
        digest = self._book.overrides.digest
        started = False
        differs = (work.validators.get(OVERRIDDEN) or "") != digest or self._without_file
        if self._overrides_known and differs:
            self._without_file = False
            await self._rows.start_pass(OVERRIDDEN, digest)
            started = True
        if work.build and work.validators.get(UNKNOWN) != str(work.build):
            await self._rows.start_pass(UNKNOWN, str(work.build))
            started = True
        return started

    async def _follow(self, work: Work) -> bool:
        position = work.position
        for _ in range(BATCHES):
            kills, position = await self._rows.kills_after(
                position, min(work.feed, position + WINDOW), VALUES, BATCH
            )
            if not await self._keep(VALUES, position, kills) or position >= work.feed:
                break
            await self._clock.sleep(PAUSE)
        return True

    async def _pass(self, kind: str, position: int, until: int) -> None:
        kills, reached = await self._rows.kills_after(position, min(until, position + WINDOW), kind, BATCH)
        await self._keep(kind, reached, kills)
        await self._clock.sleep(PAUSE)

    async def _apply_day(self, day: int, first: int, last: int, history: bool) -> None:
        """Value the mails that a day's prices concern."""
        after = None
        while True:
            kills, after = await self._rows.kills_of(first, last, after, BATCH)
            if not await self._keep(DAYS, 0, kills):
                return
            if after is None:
                break
            work = await self._rows.work()
            if work.position < work.feed:
                await self._follow(work)  # new mails first
        await self._rows.applied(day, history)

    async def _keep(self, kind: str, position: int, kills: Sequence[Kill]) -> bool:
        """Value these mails and write down what has changed. False: another daemon has taken over."""
        known = [each for each in kills if self._book.knows(each.day)]
        units: dict[int, Mapping[int, Unit | None]] = {}
        for day, types in _types_by_day(known).items():
            units[day] = await self._book.units(day, types)
            await self._clock.sleep(0.0)  # looking up some hundred types takes a millisecond
        values = self._worth(known, units)
        kept = await self._rows.keep(kind, position, values)
        self.done += len(values)
        if values:
            self._valued()
        return kept

    def _worth(self, kills: Sequence[Kill], units: Mapping[int, Mapping[int, Unit | None]]) -> list[Valued]:
        """What differs from what is written down."""
        found = []
        facts = self._book.facts
        for kill in kills:
            pod = is_capsule(kill.hull, facts.special.get(kill.hull))
            valuation = sum_up(kill.hull, pod, kill.day, kill.items, units[kill.day])
            value = Valued(kill.killmail_id, kill.killed_at, valuation, self._book.unknown(kill))
            if value != kill.value:
                found.append(value)
        return found

    async def _read_overrides(self) -> None:
        """Read the operator's file; what cannot be read is told, and what was read before stays."""
        self._reload = False
        try:
            read = await asyncio.to_thread(read_overrides, self._path)
        except BadInput as error:
            self._report("price_overrides_bad", error.message)
            self._without_file = not self._overrides_known
            return
        if read.bad:
            self._report("price_overrides_bad", f"{self._path}: {read.told()}")
        else:
            self._clear("price_overrides_bad")
        self._overrides_known = True
        if read.digest != self._book.overrides.digest:
            self._book.overrides = read
            self._book.forget()


def _types_by_day(kills: Sequence[Kill]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for kill in kills:
        found.setdefault(kill.day, set()).update(types_of(kill))
    return found
