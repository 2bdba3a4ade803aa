"""Publishes a message for every sync request that is due, and moves aside what could not be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from killsyncd.amqp import messages
from killsyncd.amqp.connection import ANSWER_SECONDS, BROKEN, AmqpConnection, label, unbroken
from killsyncd.amqp.ports import AnnouncedRows
from killsyncd.amqp.reconnect import ReconnectingConnection
from killsyncd.amqp.settings import AmqpSettings
from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, Unavailable
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import StateLog, get_logger
from killsyncd.sync.job_source import Announcement

BATCH = 100
"""Messages published at once, confirmed together."""

LOOK_AGAIN = 5.0
"""Seconds after which the rows are looked at although nothing has signalled a change."""

ON_ITS_WAY = 1.0
"""Seconds between marking a sync request and having its message confirmed, generously."""

LOST_SECONDS = 30.0
"""A message that nobody got for so long, while the broker holds too few for what is due, is lost."""

Headers = dict[str, Any]
TokenOf = Callable[[str], Awaitable[str]]

log = get_logger(__name__)


async def declare(channel: AbstractChannel, name: str) -> int:
    """Declare the queue as the system before us does, and the one for what cannot be read.

    A queue that exists with the same arguments is opened as it is. Answers its messages.
    """
    async with asyncio.timeout(2 * ANSWER_SECONDS):
        said = await unbroken(
            channel.queue_declare(name, durable=True, arguments={"x-max-priority": messages.MAX_PRIORITY})
        )
        await unbroken(channel.queue_declare(dead(name), durable=True))
    return int(said.message_count or 0)


def dead(name: str) -> str:
    """The queue for what cannot be read."""
    return f"{name}.dead"


class MessagePublisher:
    """Publishes until confirmed, over whatever connection there is.

    dial: opens a connection. token_of: an access token for a user; None where messages carry none.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        dial: Callable[[], Awaitable[AmqpConnection]],
        rows: AnnouncedRows,
        clock: Clock,
        token_of: TokenOf | None,
    ) -> None:
        self._name = settings.name
        self._rows = rows
        self._clock = clock
        self._token_of = token_of
        self._channel: AbstractChannel | None = None
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()
        self._signal = Wakeup()
        self._state = StateLog(log)
        self.messages: int | None = None
        """Messages that wait in the queue, as of the last probe; None before the first."""
        self.dead = 0
        self.consumers = 0
        """Of all daemons, and of workers of the system before."""
        self._doubtful = False
        self._renewed_at = 0.0
        self.link = ReconnectingConnection(
            "publishing", label(settings.url), (settings.name,), dial, self._hold, lambda found: None
        )

    def watched(self, found: list[tuple[int, int]]) -> None:
        """What a probe of the queue and of its dead queue said: (messages, consumers) of each."""
        (self.messages, self.consumers), (self.dead, _) = found

    def renewed(self, waiting: int, asked_at: float) -> None:
        """The queue was declared on a new connection, and held so many messages.

        It may be a new queue too: what was announced before `asked_at` (loop's time) is in doubt.
        """
        self.messages = waiting
        self._doubtful, self._renewed_at = True, asked_at - ON_ITS_WAY
        self.ring()

    def ring(self) -> None:
        """There may be sync requests without a message."""
        self._signal.ring()

    async def announce(self) -> None:
        """Publish a message for every sync request that is due, until cancelled."""
        while True:
            try:
                await self._ready.wait()
                more = await self._announce_some()
                due = await self._rows.next_due()
            except Unavailable as error:
                self._state.set("rows", "failing", "the queue cannot be read", reason=error.message)
                await self._clock.sleep(2.0)
                continue
            self._state.set("rows", "ok", "the queue can be read again")
            if not more:
                wait = LOOK_AGAIN if due is None else due - self._clock.now()
                # Due already and announced: there is nothing to do until something changes.
                await self._signal.wait(self._clock, wait if 0.0 < wait < LOOK_AGAIN else LOOK_AGAIN)

    async def publish(self, queue: str, body: bytes, priority: int, headers: Headers | None = None) -> None:
        """Publish, over a new connection where one breaks, until the broker has confirmed it."""
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            priority=priority,
            headers=headers or {},
            timestamp=None,
        )
        while True:
            await self._ready.wait()
            channel = self._channel
            assert channel is not None, "it is there while ready is set"
            try:
                await unbroken(
                    channel.basic_publish(body, routing_key=queue, properties=properties, mandatory=True)
                )
            except DeliveryError:
                await asyncio.sleep(1.0)  # refused for now, say for want of space
            except PublishError:
                self._give_up(channel)  # the queue is gone: a new connection declares it
            except BROKEN:
                self._give_up(channel)
            else:
                return

    def _give_up(self, channel: AbstractChannel) -> None:
        if self._channel is channel:
            self._ready.clear()
            self._broken.set()

    async def _hold(self, connection: AmqpConnection) -> None:
        """What lives on the connection: keep a channel ready, as long as it works."""
        channel = await connection.channel(confirms=True)
        asked_at = asyncio.get_running_loop().time()
        waiting = await declare(channel, self._name)
        self._channel = channel
        self._broken.clear()
        self._ready.set()
        self.link.healthy()
        self.renewed(waiting, asked_at)
        broken: asyncio.Future[Any] = asyncio.ensure_future(self._broken.wait())
        closing = channel.closing
        try:
            await asyncio.wait({broken, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            broken.cancel()
            closing.cancel()
            self._ready.clear()
            self._channel = None
        raise ConnectionError("the channel was closed")

    async def _announce_some(self) -> bool:
        """Publish a batch; answers whether there may be more."""
        lost_after = None
        if self.messages is not None and self.messages < await self._rows.due():
            lost_after = LOST_SECONDS
            if self._doubtful:
                lost_after = min(LOST_SECONDS, asyncio.get_running_loop().time() - self._renewed_at)
        requests = await self._rows.announce(BATCH, lost_after)
        self._doubtful = self._doubtful and len(requests) == BATCH
        if not requests:
            return False
        out: set[int] = set()
        try:
            await asyncio.gather(*(self._announce_one(each, out) for each in requests))
        finally:
            missing = [each.source_id for each in requests if each.source_id not in out]
            if missing:
                # Also when we are cancelled; where that fails, the next connection is in doubt again.
                with suppress(Unavailable, TimeoutError):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._rows.unannounce(missing)
        return len(requests) == BATCH and bool(out)

    async def _announce_one(self, request: Announcement, out: set[int]) -> None:
        token = None
        if self._token_of is not None:
            try:
                token = await self._token_of(request.user_id)
            except KillsyncdError as error:
                log.debug("no access token for a message", character_id=request.character_id, error=error)
                await self._clock.sleep(2.0)
                return
        await self.publish(self._name, messages.build(request, token), request.priority)
        out.add(request.source_id)
