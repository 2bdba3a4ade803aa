"""Time, passed in. Nobody else in this package asks the operating system for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock seconds, monotonic seconds, and a way to wait."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, as a wall clock shows them."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long. Zero or less yields to the event loop once."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], object]:
        """Call back after so many seconds, from the event loop; answers what prevents it."""


class SystemClock:
    """The real thing."""

    # Not methods that call them: every mail asks a dozen times.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], object]:
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback).cancel


class StepDetector:
    """Notices that the wall clock was set: it and monotonic time run side by side otherwise.

    After a machine slept it looks the same: monotonic time stood still meanwhile.
    """

    LEAST = 2.0
    """Seconds; what NTP slews between two looks is far less."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart = clock.now() - clock.monotonic()

    def step(self) -> float:
        """Seconds by which the wall clock was put ahead since the last look (negative: back), or 0."""
        before, self._apart = self._apart, self._clock.now() - self._clock.monotonic()
        moved = self._apart - before
        return moved if abs(moved) >= self.LEAST else 0.0


def utc(seconds: float) -> datetime:
    """An aware UTC datetime for seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
