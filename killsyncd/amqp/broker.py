"""The queues over RabbitMQ: their publisher, their consumer, and what is known of the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from killsyncd.amqp.announcer import Announcer, TokenOf
from killsyncd.amqp.connection import BROKEN, AmqpConnection, label, translated
from killsyncd.amqp.consumer import MessageConsumer
from killsyncd.amqp.ports import AnnouncedRows
from killsyncd.amqp.publisher import MessagePublisher, declare
from killsyncd.amqp.settings import AmqpSettings
from killsyncd.config.secret import Secret
from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, Refused
from killsyncd.core.events import Events
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Job, SourceKind

CHECK_AGAIN = 1.0
"""Seconds after which a refusal is asked for again: a broker that is shutting down refuses too."""

log = get_logger(__name__)


async def fault_of(url: str, password: Secret | None) -> KillsyncdError | None:
    """Connect once, and change nothing: what is wrong with the broker, or with our login."""
    try:
        await (await AmqpConnection.open(url, password, "checking")).close()
    except BROKEN as error:
        return translated(error, label(url), "")
    return None


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What is known of the broker, as of the last probe (a few seconds ago at most).

    name, messages, consumers: of the first queue. messages: waiting, None before the first probe.
    consumers: of all daemons, and of workers of the system before. dead: messages nobody could read.
    trouble: why there is no connection; None while all is well.
    """

    name: str
    messages: int | None
    consumers: int
    dead: int
    consuming: bool
    blocked: bool
    trouble: str | None


class AmqpQueue:
    """Jobs from RabbitMQ (a `JobSource`), and the messages that lead to them.

    Two connections: a broker that is short of memory blocks those that publish, and
    acknowledgements must get through all the same. `run` keeps both alive.

    paused: whether nothing shall be consumed. token_of: an access token for a user, where messages shall
    carry one for workers of the system before. corporations: the rows behind the second queue, whose messages
    speak of corporations; None where there is none.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        rows: AnnouncedRows,
        events: Events,
        clock: Clock,
        paused: Callable[[], bool],
        token_of: TokenOf | None = None,
        corporations: AnnouncedRows | None = None,
    ) -> None:
        self._settings = settings
        self._where = label(settings.url)
        self._queues = [Announcer(settings.name, SourceKind.CHARACTER, rows, clock, token_of)]
        if corporations is not None:
            name = settings.corporation_name
            self._queues.append(Announcer(name, SourceKind.CORPORATION, corporations, clock, token_of))
        self._publisher = MessagePublisher(settings, lambda: self._dial("publishing"), self._queues)
        self._consumer = MessageConsumer(
            settings,
            lambda: self._dial("consuming"),
            rows,
            self._queues,
            self._publisher,
            clock,
            paused,
        )
        for each in self._queues:
            events.on("wants", each.ring)
            events.on("switches", each.ring)
        events.on("wants", self._consumer.ring)
        events.on("switches", self._consumer.switched)

    async def check(self) -> None:
        """Connect once and declare the queues, before anything runs.

        Raises Refused for what only a person can put right. A broker that is away, stopping
        or starting is no reason not to start.
        """
        fault = await self._fault()
        if isinstance(fault, Refused):
            await asyncio.sleep(CHECK_AGAIN)
            fault = await self._fault()
        if isinstance(fault, Refused):
            raise fault
        if fault is not None:
            log.warning("RabbitMQ is away; starting without it", reason=fault.message)

    async def _fault(self) -> KillsyncdError | None:
        name = self._settings.name
        try:
            connection = await self._dial("checking")
            try:
                for each in self._queues:
                    name = each.name
                    await declare(await connection.channel(confirms=False), name)
            finally:
                await connection.close()
        except BROKEN as error:
            return translated(error, self._where, name)
        return None

    async def run(self) -> None:
        """Keep the connections alive and publish a message for every sync request, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publisher.link.run(), name="amqp-publishing")
                group.create_task(self._consumer.link.run(), name="amqp-consuming")
                for each in self._queues:
                    group.create_task(self._publisher.announce(each), name="amqp-announcing")
        finally:
            await self._consumer.close()

    async def next(self) -> Job:
        """Wait for a job and claim it. Raises Unavailable where the rows cannot be reached."""
        return await self._consumer.next()

    async def done(self, job: Job) -> None:
        """The job is worked off, given back or lost: its message may go."""
        await self._consumer.done(job)

    def facts(self) -> BrokerFacts:
        """The broker as last seen."""
        trouble = self._consumer.link.trouble or self._publisher.link.trouble
        return BrokerFacts(
            name=self._settings.name,
            messages=self._queues[0].messages,
            consumers=self._queues[0].consumers,
            dead=sum(each.dead for each in self._queues),
            consuming=self._consumer.consuming,
            blocked=self._publisher.link.blocked,
            trouble=trouble.message if trouble else None,
        )

    async def _dial(self, purpose: str) -> AmqpConnection:
        return await AmqpConnection.open(self._settings.url, self._settings.password, purpose)
