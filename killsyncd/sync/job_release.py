"""Lets go of a job's row, however long the database takes: while this daemon lives nobody else frees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events
from killsyncd.core.logging import Logger, StateLog
from killsyncd.core.model import Job, WaitsFor
from killsyncd.core.retry import retry
from killsyncd.sync.ports import SyncRequestRows

DATABASE_AGAIN = 2.0
"""Seconds until a database that did not answer is asked again."""

LEAST_PAUSE = 0.5
"""Seconds that a row which is given back rests at least."""

TROUBLE_LASTS = 20.0
"""Seconds after which trouble that was not met again is over."""


class JobRelease:
    """The end of a job for the queue: acknowledged, or given back until later.

    states: where trouble with the rows is told. stepped: called at each failed try: waiting for the
    database is no standstill. stopping: once it is set nothing is tried again.
    """

    def __init__(
        self,
        rows: SyncRequestRows,
        events: Events,
        clock: Clock,
        states: StateLog,
        stepped: Callable[[], None],
    ) -> None:
        self._rows = rows
        self._events = events
        self._clock = clock
        self._states = states
        self._stepped = stepped
        self._trouble: tuple[float, str] | None = None
        self.stopping = asyncio.Event()

    @property
    def trouble(self) -> str | None:
        """Why the queue's rows cannot be read or written just now."""
        # An empty queue that works again says nothing: what was not met again for a while is over.
        if self._trouble is None or self._clock.monotonic() - self._trouble[0] > TROUBLE_LASTS:
            return None
        return self._trouble[1]

    def in_trouble(self, error: Unavailable) -> None:
        """The rows could not be read or written."""
        self._trouble = self._clock.monotonic(), error.message
        self._states.set("rows", "failing", "the queue cannot be read or written", reason=error.message)

    def out_of_trouble(self) -> None:
        """They could."""
        self._trouble = None
        self._states.set("rows", "ok", "the queue can be read and written again")

    async def finish(self, job: Job, log: Logger) -> None:
        """Acknowledge a job that no page's transaction has acknowledged."""
        await self._until_written(lambda: self._rows.finish(job), log)

    async def give_back(
        self,
        job: Job,
        until: float,
        attempts: int,
        reason: str,
        log: Logger,
        waits_for: WaitsFor | None = WaitsFor.RETRY,
    ) -> None:
        """Put a job's row back, to be taken again from `until` on (seconds since 1970).

        attempts: what is counted against it from now on.
        """
        # Never at once: an error that says "now" again and again must not make this a busy loop.
        until = max(until, self._clock.now() + LEAST_PAUSE)
        log.debug("waits", seconds=round(until - self._clock.now(), 1), reason=reason)
        await self._until_written(
            lambda: self._rows.postpone(
                job, until, attempts=attempts, reason=reason, waits_for=waits_for, by=self._clock.now()
            ),
            log,
        )
        self._events.tell("wants")

    async def _until_written(self, write: Callable[[], Awaitable[object]], log: Logger) -> None:
        def failed(error: Unavailable, _seconds: float) -> None:
            self.in_trouble(error)
            self._stepped()

        try:
            await retry(
                write,
                on=Unavailable,
                wait=DATABASE_AGAIN,
                sleep=self._clock.sleep,
                stop=lambda _attempts: self.stopping.is_set(),
                before_wait=failed,
            )
        except Unavailable as error:
            self.in_trouble(error)
            log.warning("could not give a job back; it is free again with the next start")
        else:
            self.out_of_trouble()
