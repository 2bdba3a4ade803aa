"""Events across daemons of one database: what happens here is told there, once, and never echoed."""

from __future__ import annotations

from killsyncd.core.clock import Clock
from killsyncd.core.errors import Unavailable
from killsyncd.core.events import Events, Wakeup
from killsyncd.core.logging import get_logger
from killsyncd.storage.transaction import Store

CHANNELS = ("feed", "wants", "refs", "switches", "webhooks", "sessions")
GATHER = 0.05
"""Seconds in which many events become one notification."""

log = get_logger(__name__)


class PeerEvents:
    """Between this process's events and the store's notifications."""

    def __init__(self, store: Store, events: Events, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._waiting: set[str] = set()
        self._signal = Wakeup()
        self._hearing = False
        for channel in CHANNELS:
            events.on(channel, lambda channel=channel: self._told(channel))  # type: ignore[misc]

    def hear(self, channel: str) -> None:
        """Another daemon committed something."""
        self._hearing = True
        try:
            for each in CHANNELS if channel == "" else (channel,):
                self._events.tell(each)
        finally:
            self._hearing = False

    def _told(self, channel: str) -> None:
        if not self._hearing:
            self._waiting.add(channel)
            self._signal.ring()

    async def run(self) -> None:
        """Pass events on until cancelled; a missed one is found by the readers' cursors."""
        while True:
            await self._signal.wait(self._clock)
            await self._clock.sleep(GATHER)
            channels, self._waiting = self._waiting, set()
            for channel in sorted(channels):
                try:
                    await self._store.notify(channel)
                except Unavailable as error:
                    log.debug("other daemons could not be told", channel=channel, reason=error.message)
