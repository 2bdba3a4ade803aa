"""Where the consumer gets its jobs: the queue's rows, and something that says when to look.

The embedded queue is the rows alone. With RabbitMQ a message says which row to look
at (`amqp`); the rows stay the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from killsyncd.core.clock import Clock
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.model import Job, Source, SyncMode
from killsyncd.sync.ports import SyncRequestRows

LOOK_AGAIN = 15.0
"""Seconds after which the rows are looked at although nothing has signalled a change."""


class JobSource(Protocol):
    """A supply of claimed jobs: from the rows alone, or by way of RabbitMQ."""

    async def next(self) -> Job:
        """Wait for a job and claim it."""

    async def done(self, job: Job) -> None:
        """The job is worked off, given back or lost: its message, if there is one, may go."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A sync request that is due and has no message yet.

    source, subject_name: whose list it is. user_id, character_id, character_name: who lends the access token;
    expires_at: when that ends.
    """

    source_id: int
    user_id: str
    character_id: int
    character_name: str
    mode: SyncMode
    priority: int
    queued_at: float
    expires_at: datetime | None
    last_killmail_id: int | None
    source: Source
    subject_name: str | None = None


@dataclass(frozen=True, slots=True)
class WakeupMessage:
    """What a message asks for.

    ours: it only points at a row; others (killreport's) ask for a sync themselves.
    subject_id: of the character, or of the corporation in the queue for these. full: a walk through the whole
    list. queued_at: seconds since 1970, None where it does not say.
    """

    subject_id: int
    priority: int
    ours: bool
    full: bool = False
    queued_at: float | None = None


@dataclass(frozen=True, slots=True)
class WakeupResult:
    """What came of a message. job: claimed, if there was a request. known: whether it is a list of ours."""

    job: Job | None
    known: bool = True


class EmbeddedJobSource:
    """Jobs from the rows alone: claimed in order of priority, then of waiting; none while paused."""

    def __init__(
        self, rows: SyncRequestRows, events: Events, clock: Clock, paused: Callable[[], bool]
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._paused = paused
        self._signal = Wakeup()
        events.on("wants", self._signal.ring)
        events.on("switches", self._signal.ring)

    async def next(self) -> Job:
        """Wait for a job and claim it."""
        while True:
            wait = LOOK_AGAIN
            # Looked at each time round: who waits here already may be paused meanwhile.
            if not self._paused():
                job = await self._rows.claim()
                if job is not None:
                    return job
                due = await self._rows.next_due()
                if due is not None:
                    wait = min(LOOK_AGAIN, max(0.05, due - self._clock.now()))
            await self._signal.wait(self._clock, wait)

    async def done(self, job: Job) -> None:
        """Nothing to do: the row is all there is."""
