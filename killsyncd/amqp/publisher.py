"""Publishes messages over whatever connection there is: for sync requests, and what could not be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from killsyncd.amqp.announcer import Announcer, Headers
from killsyncd.amqp.connection import ANSWER_SECONDS, BROKEN, AmqpConnection, label, unbroken
from killsyncd.amqp.messages import MAX_PRIORITY
from killsyncd.amqp.reconnect import ReconnectingConnection
from killsyncd.amqp.settings import AmqpSettings
from killsyncd.core.logging import get_logger

log = get_logger(__name__)


async def declare(channel: AbstractChannel, name: str) -> int:
    """Declare the queue as killreport does, and the one for what cannot be read.

    A queue that exists with the same arguments is opened as it is. Answers its messages.
    """
    async with asyncio.timeout(2 * ANSWER_SECONDS):
        said = await unbroken(
            channel.queue_declare(name, durable=True, arguments={"x-max-priority": MAX_PRIORITY})
        )
        await unbroken(channel.queue_declare(dead(name), durable=True))
    return int(said.message_count or 0)


def dead(name: str) -> str:
    """The queue for what cannot be read."""
    return f"{name}.dead"


class MessagePublisher:
    """Publishes until confirmed, over whatever connection there is.

    dial: opens a connection. queues: those that it declares; a new connection may have new ones.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        dial: Callable[[], Awaitable[AmqpConnection]],
        queues: Sequence[Announcer],
    ) -> None:
        self._queues = queues
        self._channel: AbstractChannel | None = None
        self._ready = asyncio.Event()
        self._broken = asyncio.Event()
        self.link = ReconnectingConnection(
            "publishing",
            label(settings.url),
            tuple(each.name for each in queues),
            dial,
            self._hold,
            lambda _: None,
        )

    async def announce(self, queue: Announcer) -> None:
        """Publish a message for every sync request of this queue that is due, until cancelled."""
        await queue.run(self._ready, self.publish)

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
        waiting = [await declare(channel, each.name) for each in self._queues]
        self._channel = channel
        self._broken.clear()
        self._ready.set()
        self.link.healthy()
        for each, messages in zip(self._queues, waiting, strict=True):
            each.renewed(messages, asked_at)
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
