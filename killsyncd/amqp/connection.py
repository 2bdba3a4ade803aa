"""One connection to the broker: opened within bounds, watched, and cut when it is in doubt.

aiormq never reconnects, closes futures with CancelledError when a connection ends, and may
wait long for a peer that is gone. What is below turns all that into ConnectionError, quickly.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable
from typing import Any, TypeVar

from aiormq.abc import AbstractChannel
from aiormq.connection import Connection, TransportFactory
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from killsyncd.config.secret import Secret
from killsyncd.core.errors import KillsyncdError, Refused, Unavailable

T = TypeVar("T")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 4.0
PROBE_SECONDS = 2.5
"""Together: a connection that is silent, because nobody is there any more, is found out in 6.5 s."""

CLOSE_SECONDS = 2.0
HEARTBEAT_SECONDS = 5
"""For the broker's sake: it notices a daemon that is gone, and hands its messages to others, in 10 s."""

BROKEN = (AMQPError, OSError, RuntimeError)
"""Whatever a call into aiormq raises when its channel or connection has ended."""

# We log what breaks, once; aiormq would log every attempt, with the address.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class _Transport(TransportFactory):
    """TCP or TLS, with the socket kept at hand so that it can be cut."""

    def __init__(self, tls: bool) -> None:
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        provider = kwargs.pop("ssl_context_provider")
        context = await provider.get_context() if self._tls else None
        reader, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
        self._writer = writer
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return reader, writer

    def cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def unbroken(work: Awaitable[T]) -> T:
    """Await a call into aiormq: cancelled if and only if somebody cancelled us.

    Its futures end as CancelledError when a connection closes; and where both happen at once, our
    own cancellation can come out of it as the connection's error.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        result = await work
    except BaseException as error:
        if task.cancelling() > before:
            raise asyncio.CancelledError from error
        if isinstance(error, asyncio.CancelledError):
            raise ConnectionError("the connection was closed") from None
        raise
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result


class AmqpConnection:
    """An open connection."""

    def __init__(self, connection: Connection, transport: _Transport) -> None:
        self._connection = connection
        self._transport = transport

    @classmethod
    async def open(cls, url: str, password: Secret | None, purpose: str) -> AmqpConnection:
        """Connect. Raises what the broker or the network answers (BROKEN), TimeoutError."""
        address = URL(url)
        if password is not None:
            address = address.with_password(password.reveal())
        address = address.update_query(heartbeat=str(HEARTBEAT_SECONDS), name=f"killsyncd {purpose}")
        transport = _Transport(address.scheme == "amqps")
        connection = Connection(address, transport_factory=transport)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await unbroken(connection.connect())
        except BaseException:
            transport.cut()
            raise
        return cls(connection, transport)

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """A new channel."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await unbroken(self._connection.channel(publisher_confirms=confirms))

    @property
    def blocked(self) -> bool:
        """Whether the broker, short of memory or disk, takes nothing from us just now."""
        ready = self._connection.ready()
        try:
            ready.send(None)
        except StopIteration:
            return False
        ready.close()
        return True

    async def ended(self) -> None:
        """Wait until the connection has ended; it then raises."""
        try:
            await unbroken(self._connection.closing)
        except BROKEN as error:
            raise ConnectionError(f"the connection was closed: {reason_of(error)}") from error
        raise ConnectionError("the connection was closed")

    async def probe(self, *queues: str) -> list[tuple[int, int]]:
        """(messages, consumers) of queues: asked on a channel of its own, which dies if one is not there."""
        async with asyncio.timeout(ANSWER_SECONDS):
            channel = await unbroken(self._connection.channel(publisher_confirms=False))
            found = []
            for queue in queues:
                said = await unbroken(channel.queue_declare(queue, passive=True))
                found.append((int(said.message_count or 0), int(said.consumer_count or 0)))
            await unbroken(channel.close(ConnectionError("done with it")))
            return found

    async def close(self) -> None:
        """Close in an orderly way if the broker still answers; cut the socket in any case."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await unbroken(self._connection.close(ConnectionError("closed by us")))
        except (*BROKEN, TimeoutError):
            pass
        finally:
            self._transport.cut()


def reason_of(error: BaseException) -> str:
    """What went wrong, in a line, without the broker's address."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = " ".join(str(each) for each in error.args if each is not None).strip()
    return said or type(error).__name__


def translated(error: BaseException, where: str, queue: str) -> KillsyncdError:
    """Our error for one of the broker's: Refused where only a person can help, else Unavailable.

    where: the broker without user and password.
    """
    said = reason_of(error)
    if isinstance(error, KillsyncdError):
        return error
    if isinstance(error, (AuthenticationError, ProbableAuthenticationError)):
        return Refused(
            f"RabbitMQ refuses user or password: {where}",
            "check [queue] password_file and the user in [queue] url",
        )
    # aiormq does not pass on why a virtual host was not opened.
    unopened = isinstance(error, InvalidFrameError) and "Connection.OpenOk" in said
    if unopened or isinstance(error, ConnectionNotAllowed):
        return Refused(
            f"RabbitMQ does not open the virtual host: {where}",
            "make it (rabbitmqctl add_vhost) and let the user in, or correct [queue] url",
        )
    if isinstance(error, ChannelPreconditionFailed):
        return Refused(
            f"the queue {queue} exists with other arguments: {said}",
            "it must be durable with x-max-priority 10 and nothing else: delete it once it is empty, "
            "or set [queue] name to another one",
        )
    if isinstance(error, ChannelAccessRefused):
        return Refused(
            f"RabbitMQ refuses the queue {queue}: {said}",
            "let the user configure, write and read it: rabbitmqctl set_permissions",
        )
    if isinstance(error, ChannelNotFoundEntity):
        return Unavailable(f"the queue {queue} is gone: {where}", "it is declared again at once")
    return Unavailable(
        f"RabbitMQ does not answer: {where}: {said}", "is it running, and reachable from here?"
    )


def label(url: str) -> str:
    """A broker's address for people: without user, password and options."""
    address = URL(url)
    port = f":{address.explicit_port}" if address.explicit_port else ""
    return f"{address.scheme}://{address.host}{port}{'' if address.path == '/' else address.path}"
