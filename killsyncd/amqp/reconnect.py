"""A connection that is made again whenever it breaks, and the work that lives on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from killsyncd.amqp.connection import BROKEN, PROBE_SECONDS, AmqpConnection, translated
from killsyncd.core.errors import KillsyncdError
from killsyncd.core.logging import StateLog, get_logger

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two attempts; a restarted broker is found soon, and one that is away is not flooded."""

log = get_logger(__name__)


class ReconnectingConnection:
    """Keeps `work` going on some connection.

    dial: opens a connection. work: what to do on it; it ends only by raising. watched: given what
    probes of the queues said, (messages, consumers) of each.
    """

    def __init__(
        self,
        purpose: str,
        where: str,
        queues: tuple[str, ...],
        dial: Callable[[], Awaitable[AmqpConnection]],
        work: Callable[[AmqpConnection], Awaitable[None]],
        watched: Callable[[list[tuple[int, int]]], None],
    ) -> None:
        self._purpose = purpose
        self._where = where
        self._queues = queues
        self._dial = dial
        self._work = work
        self._watched = watched
        self._state = StateLog(log)
        self.trouble: KillsyncdError | None = None
        """Why there is no connection; None while there is one."""
        self.blocked = False
        self.up = asyncio.Event()
        """Set while there is a connection."""

    async def run(self) -> None:
        """Connect, work, and connect again, until cancelled."""
        failures = 0
        while True:
            try:
                connection = await self._dial()
                try:
                    await self._live(connection)
                finally:
                    self.up.clear()
                    await connection.close()
            except (*BROKEN, KillsyncdError) as error:
                failures = 0 if self.trouble is None else failures + 1
                self.trouble = translated(error, self._where, self._queues[0])
                self._state.set(
                    "link",
                    "failing",
                    "the connection to RabbitMQ is broken; making it again",
                    purpose=self._purpose,
                    reason=self.trouble.message,
                )
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
            # Real time and not the injected clock: it waits for another machine.
            await asyncio.sleep(random.uniform(pause / 2, pause))

    def healthy(self) -> None:
        """The work has set itself up: whatever was wrong is over."""
        self.trouble = None
        self.up.set()
        self._state.set("link", "ok", "connected to RabbitMQ again", purpose=self._purpose)

    async def _live(self, connection: AmqpConnection) -> None:
        tasks = [
            asyncio.ensure_future(each)
            for each in (self._work(connection), self._watch(connection), connection.ended())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if each.cancelled():
                    raise ConnectionError("the connection was closed")
                each.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, connection: AmqpConnection) -> None:
        """Ask now and then whether anybody is there: a half-open connection is as silent as an idle one."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            self.blocked = connection.blocked
            # A broker that blocks a connection reads nothing from it, probes included.
            if not self.blocked and self.up.is_set():
                self._watched(await connection.probe(*self._queues))
