"""The simulator's time: wall time for what is written down, monotonic time for what is waited for."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol


class TimeSource(Protocol):
    """Where time comes from; tests pass their own."""

    def wall(self) -> float:
        """Seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""


class SystemTime:
    """The machine's."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class SimClock:
    """A clock over another one that can be set wrong, or moved on.

    `offset` makes the simulator's wall time differ from the client's, as two machines' clocks do.
    `advance` lets time pass for everything: caches expire and tokens of the windows come back.
    """

    def __init__(self, base: TimeSource | None = None) -> None:
        self._base: TimeSource = base if base is not None else SystemTime()
        self.offset = 0.0
        self._passed = 0.0

    def wall(self) -> float:
        return self._base.wall() + self._passed + self.offset

    def monotonic(self) -> float:
        return self._base.monotonic() + self._passed

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        if seconds < 0:
            raise ValueError("time only goes forward: seconds must not be negative")
        self._passed += seconds

    def http_now(self) -> str:
        """The `Date` header."""
        return http_date(self.wall())


def http_date(wall: float) -> str:
    """An HTTP date (RFC 9110, 5.6.7): whole seconds, GMT."""
    return _http_date(int(wall))


@lru_cache(maxsize=8192)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def iso_date(wall: float) -> str:
    """ESI's timestamps: `2026-08-18T11:02:03Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall))
