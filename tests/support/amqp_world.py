"""The queue over RabbitMQ as its tests see it: the broker from beside, and a house that a queue works for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from killsyncd.amqp import AmqpQueue, AmqpSettings
from killsyncd.amqp import publisher as outbox
from killsyncd.config.secret import Secret
from killsyncd.core.events import Events
from killsyncd.core.model import Job
from killsyncd.storage.repositories.announcing import QueueAnnouncements
from tests.support.proxy import Proxy
from tests.support.storage_world import StorageWorld

ARGUMENTS: Any = {"x-max-priority": 10}


class Broker:
    """The broker as an operator, an old system or an old worker sees it."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name

    @classmethod
    async def open(cls, url: str, name: str) -> Broker:
        return cls(await aiormq.connect(url), name)

    async def declare(self, arguments: Any = ARGUMENTS) -> None:
        channel = await self.connection.channel()
        await channel.queue_declare(self.name, durable=True, arguments=arguments)
        await channel.close()

    async def send(self, *bodies: bytes, priority: int = 3) -> None:
        channel = await self.connection.channel()
        properties = aiormq.spec.Basic.Properties(delivery_mode=2, priority=priority)
        for first in range(0, len(bodies), 500):
            await asyncio.gather(
                *(
                    channel.basic_publish(body, routing_key=self.name, properties=properties)
                    for body in bodies[first : first + 500]
                )
            )
        await channel.close()

    async def get(self, queue: str = "") -> DeliveredMessage | None:
        channel = await self.connection.channel()
        found = await channel.basic_get(queue or self.name, no_ack=True)
        await channel.close()
        return found if found.delivery_tag else None

    async def count(self, queue: str = "") -> int:
        channel = await self.connection.channel()
        said = await channel.queue_declare(queue or self.name, passive=True)
        await channel.close()
        return int(said.message_count)

    async def delete(self) -> None:
        channel = await self.connection.channel()
        await channel.queue_delete(self.name)
        await channel.close()

    async def close(self) -> None:
        channel = await self.connection.channel()
        for queue in (self.name, outbox.dead(self.name)):
            await channel.queue_delete(queue)
        await self.connection.close()


class Deliveries:
    """How many messages the broker has delivered through a proxy, over all connections, and how many of them
    were acknowledged."""

    DELIVER, ACK = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50"
    """Basic.Deliver and Basic.Ack, as a frame names them (AMQP 0-9-1: class 60, methods 60 and 80)."""

    def __init__(self, proxy: Proxy) -> None:
        self.count = 0
        self.acknowledged = 0
        self.spoil_next = False
        """Whether the next acknowledgement shall be of a delivery that never was."""
        proxy.to_client, proxy.to_server = self._from_broker, self._to_broker

    def _from_broker(self, data: bytes) -> bytes:
        self.count += data.count(self.DELIVER)
        return data

    def _to_broker(self, data: bytes) -> bytes:
        self.acknowledged += data.count(self.ACK)
        at = data.find(self.ACK)
        if self.spoil_next and at >= 0:
            self.spoil_next = False
            tag = at + len(self.ACK)
            return data[:tag] + (4711).to_bytes(8, "big") + data[tag + 8 :]
        return data


class AmqpWorld:
    """A queue at work on a store, and what a test does to both."""

    def __init__(
        self, world: StorageWorld, queue: AmqpQueue, events: Events, running: asyncio.Task[None]
    ) -> None:
        self.world = world
        self.queue = queue
        self.events = events
        self.running = running
        self.paused = False

    async def want(self, character_id: int, **how: Any) -> None:
        await self.world.want(await self.world.pilot(character_id), **how)
        self.events.tell("wants")

    async def take(self) -> Job:
        """The next job, worked off at once."""
        job = await self.queue.next()
        assert await self.world.wants.finish(job)
        await self.queue.done(job)
        return job


Open = Callable[..., Awaitable[AmqpWorld]]


async def eventually(said: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; the suite's own time-out ends what never becomes so."""
    while not await said():
        await asyncio.sleep(0.02)


def old_message(character_id: int, **more: Any) -> bytes:
    return json.dumps(
        {
            "userId": 1,
            "characterId": character_id,
            "characterName": "John Doe",
            "accessToken": "canary-access",
            "refreshToken": "canary-refresh",
            "expiresAt": "2026-01-06T15:30:00.000Z",
            "queuedAt": "2026-01-06T14:30:00.000Z",
            **more,
        }
    ).encode()


def plain_queue(url: str, broker: Broker, world: StorageWorld, password: Secret | None = None) -> AmqpQueue:
    rows = QueueAnnouncements(world.store, broker.name, world.holder)
    settings = AmqpSettings(url, broker.name, 4, password)
    return AmqpQueue(settings, rows, Events(), world.timed.clock, lambda: False)


async def has(broker: Broker, count: int, queue: str = "") -> bool:
    try:
        return await broker.count(queue) == count
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False


async def nothing_left(broker: Broker) -> bool:
    return await has(broker, 0)


async def true(value: bool) -> bool:
    return value


async def forever(doing: Callable[[], Awaitable[Any]]) -> None:
    while True:
        await doing()


async def break_after(proxy: Proxy, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await proxy.cut()
