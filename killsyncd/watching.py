"""What is looked at now and then so that `ctl status` can say why it does not sync.

Tasks report what they run into; this asks those who don't speak up by themselves: the
door, token care, the broker, the disk, the clock.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from killsyncd.clock import Clock
from killsyncd.events import Events
from killsyncd.health import Health
from killsyncd.logs import get_logger
from killsyncd.model import Problem

EVERY = 5.0
LEAST_FREE = 64 * 2**20
"""Bytes on the database's disk below which work pauses: SQLite must still be able to fold its WAL away."""

ENOUGH_FREE = 96 * 2**20
SKEW = 60.0
"""Seconds by which this machine's clock may differ from ESI's."""

log = get_logger(__name__)


class Space:
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
            self._health.report("disk_low", f"{free >> 20} MiB are free on the disk of {self._folder}")
        else:
            self._health.clear("disk_low")
        if low is not self.low:
            self.low = low
            self._events.tell("switches")


class Watched(Protocol):
    """ESI's door, as far as health goes."""

    @property
    def downtime(self) -> object | None: ...
    @property
    def clock_offset(self) -> float: ...


class Watcher:
    """Asks around every few seconds. problems: of token care; trouble: of the broker, None without one."""

    def __init__(
        self,
        *,
        health: Health,
        clock: Clock,
        door: Watched,
        space: Space,
        problems: Callable[[], Sequence[Problem]],
        trouble: Callable[[], str | None],
        standing_still: Callable[[], str | None],
    ) -> None:
        self._health = health
        self._clock = clock
        self._door = door
        self._space = space
        self._problems = problems
        self._trouble = trouble
        self._standing_still = standing_still
        self._said: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(EVERY)

    def look(self) -> None:
        """Ask everybody once."""
        self._space.look()
        down = self._door.downtime
        self._say("downtime", str(getattr(down, "reason", "ESI is down")) if down is not None else None)
        offset = self._door.clock_offset
        skew = f"this machine's clock and ESI's differ by {abs(offset):.0f} s" if abs(offset) > SKEW else None
        self._say("clock_skew", skew)
        self._say("queue_unreachable", self._trouble())
        still = self._standing_still()
        self._say("task_died", f"the {still} makes no progress" if still else None)
        current = {each.code: each for each in self._problems()}
        for code in self._said - set(current):
            self._health.clear(code)
        for code, problem in current.items():
            self._health.report(code, problem.reason, problem.remedy)
        self._said = set(current)

    def _say(self, code: str, reason: str | None) -> None:
        if reason is None:
            self._health.clear(code)
        else:
            self._health.report(code, reason)
