"""A condition that many tasks wait for, each for so many seconds at most."""

from __future__ import annotations

import asyncio
from functools import partial

from killsyncd.core.clock import Clock


class Condition:
    """Something changed: look again. Waiting starts at the call; what was notified before is past."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake everybody who waits."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next `notify`, or so many seconds."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            if seconds is None:
                await waiter
                return
            # A timer and no task: every answer of ESI's ends such a wait.
            cancel = self._clock.call_later(seconds, partial(_wake, waiter))
            try:
                await waiter
            finally:
                cancel()
        finally:
            self._waiters.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
