"""Pauses as the tasks see them: kept in the database, read again whenever somebody pauses or resumes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import get_logger

LOOK_AGAIN = 30.0
log = get_logger(__name__)


class Pauses:
    """`daemon` pauses everything, `producer` the producer alone; both survive a restart."""

    def __init__(
        self, read: Callable[[], Awaitable[Mapping[str, float]]], events: Events, clock: Clock
    ) -> None:
        self._read = read
        self._events = events
        self._clock = clock
        self._on: frozenset[str] = frozenset()
        self._signal = Wakeup()
        events.on("switches", self._signal.ring)

    def paused(self) -> bool:
        """Whether somebody paused the daemon."""
        return "daemon" in self._on

    def producer_paused(self) -> bool:
        """Whether the producer queues nobody."""
        return bool(self._on & {"daemon", "producer"})

    async def load(self) -> None:
        """Read them once. Raises Unavailable."""
        before, self._on = self._on, frozenset(await self._read())
        if before != self._on:
            log.info("pauses changed", on=" ".join(sorted(self._on)) or "none")
            # Whoever looked at the old state between the change and this reading looks again.
            self._events.tell("switches")

    async def run(self) -> None:
        """Follow them until cancelled."""
        while True:
            await self._signal.wait(self._clock, LOOK_AGAIN)
            try:
                await self.load()
            except Unavailable as error:
                log.debug("pauses could not be read", reason=error.message)
