"""In-process signals: they only say "look"; what there is to see is read from the store.

A signal that comes while nobody waits is kept, several become one, and a reader
who was away misses nothing because it reads after its own cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from killsyncd.clock import Clock


class Signal:
    """One waiter's bell. Ringing it twice before it is heard is ringing it once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Say "look"."""
        self._event.set()

    async def wait(self, clock: Clock, seconds: float | None = None) -> bool:
        """Wait until it rings or the time is up; answers whether it rang, and is silent again."""
        if seconds is None:
            await self._event.wait()
        elif not self._event.is_set():
            waiter = asyncio.ensure_future(self._event.wait())
            timer = asyncio.ensure_future(clock.sleep(seconds))
            try:
                await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiter.cancel()
                timer.cancel()
                # Not `await each`: suppressing their end would swallow a cancellation of our own.
                await asyncio.wait({waiter, timer})
        rang = self._event.is_set()
        self._event.clear()
        return rang

    async def wait_unless(self, stopping: asyncio.Event, clock: Clock, seconds: float) -> None:
        """As `wait`, and until stopping."""
        rest = asyncio.ensure_future(self.wait(clock, seconds))
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({rest, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (rest, stopped):
                each.cancel()
            await asyncio.wait({rest, stopped})


class Events:
    """Who wants to hear of what. Channels: `feed`, `refs`, `wants`, `grants`, `switches`, `names`."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    def on(self, channel: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Call listener at each `tell`; answers a function that ends that."""
        listeners = self._listeners.setdefault(channel, [])
        listeners.append(listener)

        def off() -> None:
            with suppress(ValueError):
                listeners.remove(listener)

        return off

    def tell(self, channel: str) -> None:
        """Say "look" to everybody who listens. Listeners only set flags; they never raise."""
        for listener in tuple(self._listeners.get(channel, ())):
            listener()
