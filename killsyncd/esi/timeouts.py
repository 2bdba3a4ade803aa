"""One timer for many time limits. All have the same length, so the oldest is always the first to be due.

A timer of its own for every request, set and nearly never heard, is an eighth of what the request costs.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Limit:
    """Entered by the task that must not take longer; raises TimeoutError there. Like `asyncio.timeout`."""

    __slots__ = ("_before", "_expired", "_limits", "_task", "due")

    def __init__(self, limits: dict[Limit, None], due: float) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can be stopped"
        self._limits = limits
        self._task = task
        self._before = task.cancelling()
        self._expired = False
        self.due = due

    def __enter__(self) -> None:
        self._limits[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._expired:
            del self._limits[self]
        elif self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error  # nobody else has cancelled it

    def expire(self) -> None:
        """It took too long."""
        self._expired = True
        self._task.cancel()


class Deadlines:
    """Ends what takes longer than so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limits: dict[Limit, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> Limit:
        """For one thing, from now on."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire, loop)
        return Limit(self._limits, due)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for limit in tuple(self._limits):
            if limit.due > now:
                self._timer = loop.call_at(limit.due, self._expire, loop)
                return
            del self._limits[limit]
            limit.expire()
