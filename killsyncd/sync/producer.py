"""The producer: queues every list that was not read for a while, again and again.

The next run counts from the end of the last one, with jitter, and the time is kept in the database: a restart
does not queue everybody at once, and of several daemons one runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from killsyncd.core.clock import Clock, utc
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.model import PRIORITY_PRODUCER, Origin
from killsyncd.esi.routes import AFTER_EXPIRES
from killsyncd.sync.ports import DueSources, ProducerRunRows
from killsyncd.sync.settings import ProducerSettings

CHUNK = 200
"""Lists queued in one transaction."""

LONGEST_JITTER = 60.0

WORKED_OFF = 2.0
"""Seconds that a list takes to be read; until when its answer is cached is known then."""

LOOK_AGAIN = 15.0
"""Seconds after which it is looked whether something is due, although nobody said so."""

SHOWN = 20
"""Lists named one by one in the log; more are counted."""


class Producer:
    """Background sync. esi_now: ESI's clock, never ahead of it. paused: whether nobody shall be queued by
    itself."""

    def __init__(
        self,
        settings: ProducerSettings,
        *,
        runs: ProducerRunRows,
        sources: DueSources,
        esi_now: Callable[[], float],
        events: Events,
        clock: Clock,
        rng: random.Random,
        paused: Callable[[], bool],
    ) -> None:
        self._runs = runs
        self._sources = sources
        self._esi_now = esi_now
        self._events = events
        self._clock = clock
        self._rng = rng
        self._settings = settings
        self._paused = paused
        self._signal = Wakeup()
        events.on("switches", self._signal.ring)
        events.on("feed", self._stored)
        self._log = get_logger(__name__)
        self._states = StateLog(self._log)
        self.running = False
        self.progress = clock.monotonic()

    def _stored(self) -> None:
        """Mails were stored: a list may have fought. Looked at now and then while thousands come home."""
        if self._settings.active_for > 0.0 and self._clock.monotonic() - self.progress >= WORKED_OFF:
            self._signal.ring()

    def reconfigure(self, settings: ProducerSettings) -> None:
        """Run by other settings from now on; a next run further away than the interval is due at once."""
        self._settings = settings

    async def run(self, stopping: asyncio.Event) -> None:
        """Run when it is time, until stopping."""
        with self._signal.ringing_at(stopping):
            while not stopping.is_set():
                self.progress = self._clock.monotonic()
                wait = LOOK_AGAIN
                if not self._paused():
                    try:
                        wait = min(await self.round(), await self.queue_active())
                    except Unavailable as error:
                        self._states.set("run", "failing", "background sync failed", reason=error.message)
                    else:
                        self._states.set("run", "ok", "background sync works again")
                await self._signal.wait(self._clock, min(LOOK_AGAIN, wait))

    async def round(self) -> float:
        """Run if it is due; answers the seconds until it is."""
        state = await self._runs.state()
        # Further away than it is ever set: written while the clock was wrong, or with another interval.
        longest = self._settings.interval + LONGEST_JITTER
        due = not 0.0 < state.next_run_at - state.now <= longest + 1.0
        if state.holder is None and due and await self._runs.begin(longest + 1.0):
            self.running = True
            try:
                queued = await self._queue_everybody()
            finally:
                self.running = False
            # A tenth of the interval of jitter, a minute at most: not everybody's daemon at once.
            jitter = self._rng.uniform(0.0, min(LONGEST_JITTER, self._settings.interval / 10))
            await self._runs.finish(queued, self._settings.interval + jitter)
            state = await self._runs.state()
        return max(0.05, state.next_run_at - state.now) if state.holder is None else 2.0

    async def queue_active(self) -> float:
        """Queue lists that showed a fresh kill lately, as soon as ESI has news of them.

        Answers the seconds until the next one is due. Which of a list's tokens they may spend, the
        consumer keeps.
        """
        active_for = self._settings.active_for
        if active_for <= 0.0:
            return LOOK_AGAIN
        now = self._esi_now() - AFTER_EXPIRES
        due = await self._sources.active(active_for, now, CHUNK)
        if due:
            await self._sources.queue(due, PRIORITY_PRODUCER, Origin.ACTIVE)
            self._events.tell("wants")
            self._log.debug("lists that fought are read again", lists=len(due))
            return WORKED_OFF
        following = await self._sources.next_active(active_for)
        return LOOK_AGAIN if following is None else max(0.5, following - now)

    async def _queue_everybody(self) -> int:
        began = self._clock.monotonic()
        due = await self._sources.due(utc(self._clock.now() - self._settings.min_age))
        self._log.info("background sync", found=len(due))
        count = 0
        for start in range(0, len(due), CHUNK):
            queued = await self._sources.queue(due[start : start + CHUNK], PRIORITY_PRODUCER, Origin.PRODUCER)
            self.progress = self._clock.monotonic()
            self._events.tell("wants")
            for each in queued:
                count += int(each.queued)
                if each.queued and count <= SHOWN:
                    last = each.last_sync_at
                    ago = f"{(self._clock.now() - last.timestamp()) / 60:.0f}m ago" if last else "never"
                    kind = each.source.kind.value
                    self._log.info(
                        "queued",
                        **{kind: each.name, f"{kind}_id": each.source.subject_id},
                        mode=each.mode.value if each.mode else "",
                        last=ago,
                    )
        took = round((self._clock.monotonic() - began) * 1000)
        self._log.info("background sync queued", lists=count, ms=took)
        return count
