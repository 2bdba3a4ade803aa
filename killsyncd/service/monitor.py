"""What is looked at now and then so that `ctl status` can say why it does not sync.

Tasks report what they run into; this asks those who don't speak up by themselves: the
door, token care, the broker, the database's users, the disk, the clock.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from killsyncd.core.clock import Clock, utc
from killsyncd.core.events import Events
from killsyncd.core.logging import get_logger
from killsyncd.core.model import DetailsWait, Problem, WaitsFor
from killsyncd.core.server_clock import Dissent
from killsyncd.core.text import size, span
from killsyncd.service.health import Health
from killsyncd.service.waiting import details_reason

EVERY = 5.0
LEAST_FREE = 64 * 2**20
"""Bytes on the database's disk below which work pauses: SQLite must still be able to fold its WAL away."""

ENOUGH_FREE = 96 * 2**20
SKEW = 60.0
"""Seconds by which this machine's clock may differ from ESI's."""

ODD_DATES = 3
"""Wrong Dates among ESI's last answers that are worth a word."""

UNREACHABLE_AFTER = 3
"""So many requests without an answer, and not one with, are no weather any more."""

log = get_logger(__name__)


class DiskSpace:
    """The database's disk. Too little of it pauses the work instead of failing it."""

    def __init__(self, folder: Path | None, health: Health, events: Events) -> None:
        """folder: None where the database lies elsewhere."""
        self._folder = folder
        self._health = health
        self._events = events
        self.low = False

    def look(self) -> None:
        """Measure, report, and wake whoever waits for it."""
        if self._folder is None:
            return
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return
        low = free < (ENOUGH_FREE if self.low else LEAST_FREE)
        if low:
            self._health.report(
                "disk_low",
                f"{size(free)} are free on the disk of {self._folder}; work goes on from {size(ENOUGH_FREE)}",
                f"free {size(max(0, ENOUGH_FREE - free))} at the least on the disk of {self._folder}; "
                "work goes on by itself",
            )
        else:
            self._health.clear("disk_low")
        if low is not self.low:
            self.low = low
            self._events.tell("switches")


class EsiCounters(Protocol):
    """The door's counters; see `esi.asking.Stats`."""

    @property
    def unheard(self) -> int: ...


class EsiView(Protocol):
    """ESI's door, as far as health goes."""

    @property
    def downtime(self) -> object | None: ...
    @property
    def clock_offset(self) -> float: ...
    @property
    def wrong_dates(self) -> Dissent | None: ...
    @property
    def error_limited(self) -> bool: ...
    @property
    def stats(self) -> EsiCounters: ...
    def blocks(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, slots=True)
class MonitorSources:
    """What the watcher asks of others. Each answers at once, from memory.

    problems: of token care. broker: its trouble, None without one. database: its trouble as the
    tasks meet it. details: why mails last had to wait for ESI.
    standing_still: the task that makes no progress. storm: why hardly a killmail is asked for.
    """

    problems: Callable[[], Sequence[Problem]]
    broker: Callable[[], str | None]
    database: Callable[[], str | None]
    details: Callable[[], DetailsWait | None]
    standing_still: Callable[[], str | None]
    storm: Callable[[], str | None]


class Monitor:
    """Asks around every few seconds."""

    def __init__(
        self, *, health: Health, clock: Clock, esi: EsiView, space: DiskSpace, sights: MonitorSources
    ) -> None:
        self._health = health
        self._clock = clock
        self._esi = esi
        self._space = space
        self._sights = sights
        self._database_failed = False
        self._said: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(EVERY)

    def look(self) -> None:
        """Ask everybody once."""
        self._space.look()
        self._look_at_esi()
        self._look_at_clocks()
        self._say("queue_unreachable", self._sights.broker())
        failing = self._sights.database()
        # Twice in a row: what passes within seconds is nobody's business.
        self._say("database_failing", failing if self._database_failed else None)
        self._database_failed = failing is not None
        self._say("details_failing", self._sights.storm())
        still = self._sights.standing_still()
        self._say("task_died", f"the {still} makes no progress" if still else None)
        current = {each.code: each for each in self._sights.problems()}
        for code in self._said - set(current):
            self._health.clear(code)
        for code, problem in current.items():
            self._health.report(code, problem.reason, problem.remedy)
        self._said = set(current)

    def _look_at_esi(self) -> None:
        lost = self._esi.stats.unheard >= UNREACHABLE_AFTER
        self._say("esi_unreachable", "ESI does not answer" if lost else None)
        down = self._esi.downtime
        reason = str(getattr(down, "reason", "ESI is down")) if down is not None and not lost else None
        self._say("downtime", reason)
        limited = "ESI's error limit shuts every route" if self._esi.error_limited else None
        self._say("error_limit", limited)
        blocks = self._esi.blocks()
        groups = ", ".join(
            f"{group} until {utc(until):%H:%M:%S} UTC" for group, until in sorted(blocks.items())
        )
        self._say("budget_blocked", f"ESI asked us to wait: {groups}" if blocks else None)
        self._say("budget_dry", None if blocks else self._dry())

    def _look_at_clocks(self) -> None:
        offset = self._esi.clock_offset
        way = "behind" if offset > 0 else "ahead of"
        skew = f"this machine's clock is {span(abs(offset))} {way} ESI's"
        self._say("clock_skew", skew if abs(offset) > SKEW else None)
        wrong = self._esi.wrong_dates
        told = wrong is not None and wrong.answers >= ODD_DATES
        self._say("esi_dates_wrong", _of_dates(wrong) if wrong is not None and told else None)

    def _dry(self) -> str | None:
        wait = self._sights.details()
        if wait is None or wait.waits_for is not WaitsFor.BUDGET:
            return None
        return details_reason(wait, self._clock.now()) if wait.holds(self._clock.monotonic()) else None

    def _say(self, code: str, reason: str | None) -> None:
        if reason is None:
            self._health.clear(code)
        else:
            self._health.report(code, reason)


def _of_dates(wrong: Dissent) -> str:
    far = f"{span(abs(wrong.seconds))} {'ahead of' if wrong.seconds > 0 else 'behind'} the others"
    return f"{wrong.answers} of ESI's last {wrong.of} answers are dated {far}; these are believed"
