"""Notices when this machine's clock is set, and sets anew what waits by it.

Times in the database that say when to look again were written by a wall clock. While it is an hour fast they
lie an hour ahead of what was meant; once it is right again nothing would happen for that hour. ESI's rules
are kept by ESI's own clock, so looking too early costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from killsyncd.core.clock import Clock, StepDetector
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.sync.consumer import LONGEST_BACKOFF
from killsyncd.sync.ports import WaitRows

EVERY = 2.0
CHANNELS = ("wants", "refs", "names", "grants", "switches", "webhooks")

log = get_logger(__name__)


class ClockWatch:
    """Looks every two seconds. was_set: called on each step, so that others can drop times they kept."""

    def __init__(self, rows: WaitRows, events: Events, clock: Clock, was_set: Callable[[], None]) -> None:
        self._rows = rows
        self._events = events
        self._clock = clock
        self._was_set = was_set
        self._detector = StepDetector(clock)
        self._back = 0.0  # seconds that the rows still have to learn of
        self._shift = 0.0
        self._started = False
        self._states = StateLog(log)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY)

    async def look(self) -> None:
        """Look once."""
        step = self._detector.step()
        if step:
            way = "ahead" if step > 0 else "back"
            log.warning("this machine's clock was set, or it slept", seconds=round(abs(step)), way=way)
            # Forward, what waits comes early. ESI's rules allow it: they are not kept by this clock.
            self._back = max(0.0, self._back - step)
            self._shift += step  # what others' rules hold back must not come early, either
            self._was_set()
        if not step and not self._back and not self._shift and self._started:
            return
        try:
            if not self._started:
                # It may have been set while we were stopped, and by how much nobody knows.
                await self._rows.anew(LONGEST_BACKOFF)
                self._started = True
            if self._back:
                await self._rows.sooner(self._back)
                self._back = 0.0
            if self._shift:
                await self._rows.shifted(self._shift)
                self._shift = 0.0
        except Unavailable as error:
            self._states.set(
                "rows", "failing", "waiting times cannot be corrected just now", reason=error.message
            )
            return
        self._states.set("rows", "ok", "waiting times can be corrected again")
        for channel in CHANNELS:
            self._events.tell(channel)
