"""Where the consumer gets its jobs: the queue's rows, and something that says when to look.

The embedded queue is the rows alone. With RabbitMQ a message says which row to look
at (`amqp.py`); the rows stay the truth.
"""

from __future__ import annotations

from typing import Protocol

from killsyncd.clock import Clock
from killsyncd.events import Events, Signal
from killsyncd.model import Job

LOOK_AGAIN = 15.0
"""Seconds after which the rows are looked at although nobody rang."""


class WantRows(Protocol):
    """The queue's rows."""

    async def claim(self, source_id: int | None = None) -> Job | None:
        """Take the most urgent job that is due; None when there is none."""

    async def next_due(self) -> float | None:
        """When the next waiting job may be claimed, in seconds since 1970."""


class Jobs(Protocol):
    """A supply of claimed jobs."""

    async def next(self) -> Job:
        """Wait for a job and claim it."""

    async def done(self, job: Job) -> None:
        """The job is worked off, given back or lost: its message, if there is one, may go."""


class EmbeddedJobs:
    """Jobs from the rows alone: claimed in order of priority, then of waiting."""

    def __init__(self, rows: WantRows, events: Events, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._signal = Signal()
        events.on("wants", self._signal.ring)
        events.on("switches", self._signal.ring)

    async def next(self) -> Job:
        """Wait for a job and claim it."""
        while True:
            job = await self._rows.claim()
            if job is not None:
                return job
            due = await self._rows.next_due()
            wait = LOOK_AGAIN if due is None else min(LOOK_AGAIN, max(0.05, due - self._clock.now()))
            await self._signal.wait(self._clock, wait)

    async def done(self, job: Job) -> None:
        """The row said it all."""
