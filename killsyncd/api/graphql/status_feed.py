"""`workerStatusUpdates`: one look at the queue for all subscribers, told when something changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from killsyncd.api.graphql.context import ApiServices, Context
from killsyncd.api.graphql.shared_results import Event
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.core.read_model import FeedEpoch
from killsyncd.service import StatusReport

LOOK_AGAIN = 2.0
"""Seconds after which the queue is looked at although nobody said so: a broker says nothing."""

GATHER = 0.1
"""Seconds in which many changes become one update."""

log = get_logger(__name__)


class StatusHub:
    """Looks at the queue while there are followers. `run` it for as long as it is used."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._signal = Wakeup()
        self._news = asyncio.Event()
        self._states = StateLog(log)
        self._followers = 0
        self._version = 0
        self._report: StatusReport | None = None
        self._shown: object = None

    def look(self) -> None:
        """Something may have changed."""
        self._signal.ring()

    async def run(self) -> None:
        """Look whenever told, and now and then unasked, until cancelled."""
        while True:
            await self._signal.wait(self._services.clock, LOOK_AGAIN)
            if not self._followers:
                continue
            try:
                self._take(await self._services.operations.status())
            except Unavailable as error:
                self._states.set("status", "failing", "the queue cannot be looked at", reason=error.message)
            except Exception as error:
                log.exception("looking at the queue failed", error)
            else:
                self._states.set("status", "ok", "the queue can be looked at again")
            await self._services.clock.sleep(GATHER)

    async def follow(self) -> AsyncIterator[Event]:
        """The queue now, and again after each change, without end; a slow reader skips some."""
        self._followers += 1
        try:
            self._take(await self._services.operations.status())
            told = -1
            while True:
                while told == self._version:
                    await self._news.wait()
                told = self._version
                assert self._report is not None, "taken before the first version"
                # The context has nothing to load: everything is in the report.
                yield Event(
                    ("status", told),
                    self._report.by_queue(),
                    lambda: Context(self._services, FeedEpoch(""), shared=True),
                )
        finally:
            self._followers -= 1

    def _nothing(self) -> Context:
        return Context(self._services, FeedEpoch(""), shared=True)

    def _take(self, report: StatusReport) -> None:
        shown = (report.queues, report.consumers)
        if shown == self._shown:
            return
        self._shown = shown
        self._report = report
        self._version += 1
        self._news.set()
        self._news.clear()
