"""Consumes messages, and claims the jobs that they point at."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from aiormq.abc import AbstractChannel, DeliveredMessage

from killsyncd.amqp import messages
from killsyncd.amqp.announcer import Announcer
from killsyncd.amqp.connection import ANSWER_SECONDS, BROKEN, AmqpConnection, label, unbroken
from killsyncd.amqp.ports import AnnouncedRows
from killsyncd.amqp.publisher import MessagePublisher, dead, declare
from killsyncd.amqp.reconnect import ReconnectingConnection
from killsyncd.amqp.settings import AmqpSettings
from killsyncd.core.clock import Clock
from killsyncd.core.errors import BadInput
from killsyncd.core.events import Wakeup
from killsyncd.core.logging import get_logger
from killsyncd.core.model import Job, SourceKind
from killsyncd.sync.job_source import LOOK_AGAIN

MOST_UNKNOWN = 10_000
"""Unknown characters that are remembered, so that each is logged once."""

REASON = "x-killsyncd-reason"

log = get_logger(__name__)


class MessageConsumer:
    """Deliveries turned into jobs; a delivery is acknowledged when its job is done.

    dial: opens a connection. rows: of every kind, for as long as there is no broker. queues: consumed, each
    with the rows that its messages point at. paused: whether nothing shall be consumed.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        dial: Callable[[], Awaitable[AmqpConnection]],
        rows: AnnouncedRows,
        queues: Sequence[Announcer],
        publisher: MessagePublisher,
        clock: Clock,
        paused: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._queues = queues
        self._publisher = publisher
        self._clock = clock
        self._paused = paused
        self._waiting: deque[tuple[Announcer, DeliveredMessage]] = deque()
        self._working: dict[int, DeliveredMessage] = {}
        self._moves: set[asyncio.Task[None]] = set()
        self._unknown: set[int] = set()
        self._signal = Wakeup()
        self._switched = asyncio.Event()
        self._down_since: float | None = clock.monotonic()
        self.consuming = False
        self.received = 0
        # Its probes count the messages: this connection is never blocked.
        names = tuple(name for each in queues for name in (each.name, dead(each.name)))
        self.link = ReconnectingConnection(
            "consuming", label(settings.url), names, dial, self._consume, self._watched
        )

    def switched(self) -> None:
        """Somebody paused or resumed."""
        self._switched.set()

    def ring(self) -> None:
        """There may be something to claim, for as long as there is no broker."""
        self._signal.ring()

    async def next(self) -> Job:
        """Wait for a job and claim it. Raises Unavailable where the rows cannot be reached."""
        while True:
            while self._waiting:
                job = await self._job_of_first()
                if job is not None:
                    return job
            if self._down_for() > self._settings.without_broker and not self._paused():
                job = await self._rows.claim()
                if job is not None:
                    return job
            await self._signal.wait(self._clock, LOOK_AGAIN if self._down_since is None else 1.0)

    async def done(self, job: Job) -> None:
        """Acknowledge the job's message. One of a connection that is gone was given to others already."""
        delivery = self._working.pop(job.source_id, None)
        if delivery is not None:
            await _ack(delivery)

    async def close(self) -> None:
        """Stop moving messages aside; what was not confirmed is delivered again."""
        for task in tuple(self._moves):
            task.cancel()
        await asyncio.gather(*self._moves, return_exceptions=True)

    def _down_for(self) -> float:
        return 0.0 if self._down_since is None else self._clock.monotonic() - self._down_since

    async def _job_of_first(self) -> Job | None:
        """Do what the first delivery says; it stays the first one where that fails."""
        queue, delivery = first = self._waiting[0]
        try:
            message = messages.read(delivery.body, delivery.header.properties.priority, queue.kind)
        except BadInput as error:
            self._drop(first)
            self._set_aside(queue, delivery, error.message)
            return None
        result = await queue.rows.summon(message)
        self._drop(first)
        if result.job is not None:
            self._working[result.job.source_id] = delivery
            return result.job
        if not result.known:
            self._log_unknown(queue.kind, message.subject_id)
        await _ack(delivery)
        return None

    def _drop(self, waiting: tuple[Announcer, DeliveredMessage]) -> None:
        # Its connection may have ended meanwhile, and all of its deliveries with it.
        with suppress(ValueError):
            self._waiting.remove(waiting)

    def _log_unknown(self, kind: SourceKind, subject_id: int) -> None:
        if subject_id not in self._unknown and len(self._unknown) < MOST_UNKNOWN:
            self._unknown.add(subject_id)
            if kind is SourceKind.CORPORATION:
                told = "a message for a corporation that none of our pilots is in"
                log.info(told, corporation_id=subject_id)
            else:
                log.info("a message for somebody who never logged in here", character_id=subject_id)

    def _watched(self, found: list[tuple[int, int]]) -> None:
        for place, each in enumerate(self._queues):
            each.watched(found[2 * place], found[2 * place + 1])

    def _set_aside(self, queue: Announcer, delivery: DeliveredMessage, reason: str) -> None:
        """Move what cannot be read to the dead queue: published there first, then acknowledged here."""
        log.warning("a message cannot be read", reason=reason, moved_to=dead(queue.name))

        async def move() -> None:
            await self._publisher.publish(dead(queue.name), delivery.body, 0, {REASON: reason})
            await _ack(delivery)

        task = asyncio.create_task(move(), name="move-message")
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)

    async def _consume(self, connection: AmqpConnection) -> None:
        """What lives on the connection: consume, unless paused, as long as the channel works."""
        channel = await connection.channel(confirms=False)
        asked_at = asyncio.get_running_loop().time()
        waiting = [await declare(channel, each.name) for each in self._queues]
        async with asyncio.timeout(ANSWER_SECONDS):
            await unbroken(channel.basic_qos(prefetch_count=self._settings.prefetch))
        cancelled = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda frame: cancelled.set())
        self.link.healthy()
        for each, messages_there in zip(self._queues, waiting, strict=True):
            each.renewed(messages_there, asked_at)
        self._down_since = None
        try:
            while True:
                self._switched.clear()
                if self._paused():
                    await self._until(channel, self._switched, cancelled)
                    continue
                tags = [await self._begin(channel, each) for each in self._queues]
                self.consuming = True
                while not self._paused():
                    await self._until(channel, self._switched, cancelled)
                    self._switched.clear()
                await self._stop_consuming(channel, tags)
        finally:
            self.consuming = False
            self._waiting.clear()  # the broker gives them to whoever asks next
            self._down_since = self._clock.monotonic()

    async def _until(
        self, channel: AbstractChannel, switched: asyncio.Event, cancelled: asyncio.Event
    ) -> None:
        """Wait for a pause or its end. Raises when the channel closes, or the broker ends our consuming."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(e.wait()) for e in (switched, cancelled)]
        waits.append(channel.closing)
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if cancelled.is_set():
            raise ConnectionError("the broker ended our consuming")
        if channel.is_closed:
            raise ConnectionError("the channel was closed")

    async def _begin(self, channel: AbstractChannel, queue: Announcer) -> str:
        """Consume a queue; answers the consumer's tag."""

        async def delivered(delivery: DeliveredMessage) -> None:
            self.received += 1
            self._waiting.append((queue, delivery))
            self._signal.ring()

        async with asyncio.timeout(ANSWER_SECONDS):
            said = await unbroken(channel.basic_consume(queue.name, delivered))
        return said.consumer_tag or ""

    async def _stop_consuming(self, channel: AbstractChannel, tags: Sequence[str]) -> None:
        """Paused: what was delivered and not begun goes back to where others can get it."""
        self.consuming = False
        async with asyncio.timeout(ANSWER_SECONDS):
            for tag in tags:
                await unbroken(channel.basic_cancel(tag))
            while self._waiting:
                _, delivery = self._waiting.popleft()
                await unbroken(channel.basic_nack(_tag(delivery), requeue=True))


def _tag(delivery: DeliveredMessage) -> int:
    return int(delivery.delivery_tag or 0)


async def _ack(delivery: DeliveredMessage) -> None:
    """Acknowledge; on a channel that is gone there is nothing to acknowledge any more."""
    with suppress(*BROKEN):
        async with asyncio.timeout(ANSWER_SECONDS):
            await unbroken(delivery.channel.basic_ack(_tag(delivery), wait=False))
