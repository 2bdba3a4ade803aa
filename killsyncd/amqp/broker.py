"""The queue over RabbitMQ, as the house wires it: an inbox, an outbox, and what is known of the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from killsyncd.amqp.connection import BROKEN, AmqpConnection, label, translated
from killsyncd.amqp.consumer import MessageConsumer
from killsyncd.amqp.ports import AnnouncedRows
from killsyncd.amqp.publisher import MessagePublisher, TokenOf, declare
from killsyncd.config.secret import Secret
from killsyncd.core.clock import Clock
from killsyncd.core.errors import KillsyncdError, Refused
from killsyncd.core.events import Events
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Job

WITHOUT_BROKER = 10.0
"""Seconds without a broker after which jobs are claimed from the rows alone."""

CHECK_AGAIN = 1.0
"""Seconds after which a refusal is asked for again: a broker that is shutting down refuses too."""

log = get_logger(__name__)


async def fault_of(url: str, password: Secret | None) -> KillsyncdError | None:
    """Connect once, and change nothing: what is wrong with the broker, or with what we show it."""
    try:
        await (await AmqpConnection.open(url, password, "checking")).close()
    except BROKEN as error:
        return translated(error, label(url), "")
    return None


@dataclass(frozen=True, slots=True)
class AmqpSettings:
    """Where the broker is, and how its queue is used.

    prefetch: jobs at once. password: apart from the url, so that nothing shows it.
    """

    url: str
    name: str
    prefetch: int
    password: Secret | None = None
    without_broker: float = WITHOUT_BROKER


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What is known of the broker, as of the last probe (a few seconds ago at most).

    messages: waiting, None before the first probe. consumers: of all daemons, and of old workers.
    dead: messages nobody could read. trouble: why there is no connection; None while all is well.
    """

    name: str
    messages: int | None
    consumers: int
    dead: int
    consuming: bool
    blocked: bool
    trouble: str | None


class AmqpQueue:
    """Jobs from RabbitMQ (`jobs.Jobs`), and the messages that lead to them.

    Two connections: a broker that is short of memory blocks those that publish, and
    acknowledgements must get through all the same. `run` keeps both alive.

    token_of: an access token for a user, where messages shall carry one for old workers.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        rows: AnnouncedRows,
        events: Events,
        clock: Clock,
        paused: Callable[[], bool],
        token_of: TokenOf | None = None,
    ) -> None:
        self._settings = settings
        self._where = label(settings.url)
        self._outbox = MessagePublisher(
            settings.name, self._where, lambda: self._dial("publishing"), rows, clock, token_of
        )
        self._inbox = MessageConsumer(
            settings.name,
            self._where,
            settings.prefetch,
            lambda: self._dial("consuming"),
            rows,
            self._outbox,
            clock,
            paused,
            settings.without_broker,
        )
        events.on("wants", self._outbox.ring)
        events.on("wants", self._inbox.ring)
        events.on("switches", self._outbox.ring)
        events.on("switches", self._inbox.switched)

    async def check(self) -> None:
        """Connect once and declare the queues, before anything runs.

        Raises Refused for what only a person can put right. A broker that is merely away, or
        going, or coming, is no reason not to start.
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
        try:
            wire = await self._dial("checking")
            try:
                await declare(await wire.channel(confirms=False), self._settings.name)
            finally:
                await wire.close()
        except BROKEN as error:
            return translated(error, self._where, self._settings.name)
        return None

    async def run(self) -> None:
        """Keep the connections alive and announce wants, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outbox.link.run(), name="amqp-publishing")
                group.create_task(self._inbox.link.run(), name="amqp-consuming")
                group.create_task(self._outbox.announce(), name="amqp-announcing")
        finally:
            await self._inbox.close()

    async def next(self) -> Job:
        """Wait for a job and claim it. Raises Unavailable where the rows cannot be reached."""
        return await self._inbox.next()

    async def done(self, job: Job) -> None:
        """The job is worked off, given back or lost: its message may go."""
        await self._inbox.done(job)

    def facts(self) -> BrokerFacts:
        """The broker as last seen."""
        trouble = self._inbox.link.trouble or self._outbox.link.trouble
        return BrokerFacts(
            name=self._settings.name,
            messages=self._outbox.messages,
            consumers=self._outbox.consumers,
            dead=self._outbox.dead,
            consuming=self._inbox.consuming,
            blocked=self._outbox.link.blocked,
            trouble=trouble.message if trouble else None,
        )

    async def _dial(self, purpose: str) -> AmqpConnection:
        return await AmqpConnection.open(self._settings.url, self._settings.password, purpose)
