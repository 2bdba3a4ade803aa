"""In-process signals: they only say "look"; what there is to see is read from the store.

A signal that comes while nobody waits is kept, several become one, and a reader
who was away misses nothing because it reads after its own cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from killsyncd.core.clock import Clock


class Wakeup:
    """One waiter's bell. Ringing it twice before it is heard is ringing it once."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Say "look"."""
        self._rung = True
        self._wake()

    async def wait(self, clock: Clock, seconds: float | None = None) -> bool:
        """Wait until it rings or the time is up; answers whether it rang, and is silent again."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            # A timer and no task: this is waited for after every few mails.
            calm = clock.call_later(seconds, self._wake) if seconds is not None else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if calm is not None:
                    calm()
        rang, self._rung = self._rung, False
        return rang

    @contextmanager
    def ringing_at(self, stopping: asyncio.Event) -> Iterator[None]:
        """Within the block it rings when this event is set, too."""
        watch = asyncio.ensure_future(stopping.wait())
        watch.add_done_callback(lambda _: None if watch.cancelled() else self.ring())
        try:
            yield
        finally:
            watch.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Events:
    """Who wants to hear of what. Channels: `feed`, `refs`, `wants`, `grants`, `switches`, `names`,
    `static-data`, `prices`, `values`, `webhooks`, `sessions`."""

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
