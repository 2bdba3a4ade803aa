"""One timer for many time limits. All have the same length, so the oldest is always the first to be due.

A timer of its own for every request, set and nearly never heard, is an eighth of what the request costs.
"""

from __future__ import annotations

import asyncio


class Deadlines:
    """Ends what takes longer than so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, limit: asyncio.Timeout) -> None:
        """limit: an `asyncio.timeout(None)` that was entered; it expires unless `stop` comes first."""
        loop = asyncio.get_running_loop()
        self._due[limit] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._expire, loop)

    def stop(self, limit: asyncio.Timeout) -> None:
        """It is over. To be called before the limit is left."""
        self._due.pop(limit, None)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for limit, due in tuple(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._expire, loop)
                return
            del self._due[limit]
            limit.reschedule(now)
