"""Time, passed in. Nobody else in this package asks the operating system for it."""

from __future__ import annotations

import asyncio
import time
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


class SystemClock:
    """The real thing."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def utc(seconds: float) -> datetime:
    """An aware UTC datetime for seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
