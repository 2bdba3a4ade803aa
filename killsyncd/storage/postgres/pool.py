"""Connections to PostgreSQL: a bounded number, made when needed, thrown away when in doubt."""

from __future__ import annotations

import asyncio
import secrets
import socket
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from killsyncd.core.errors import Unavailable
from killsyncd.core.tasks import while_others_are_served

ACQUIRE_SECONDS = 30.0
IDLE_SECONDS = 300.0
"""A connection that nobody needed for so long is closed when the next one is given back."""


class Slot:
    """A connection's row in `outcomes`. renewed_at: by the loop's time, None before there is one."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(12)
        self.renewed_at: float | None = None


class Session(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection that knows its row in `outcomes`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slot = Slot()


class Pool:
    """Lends connections, the one used last first, so that those not needed fall idle."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], limit: int) -> None:
        self._connect = connect
        self._limit = limit
        self._places = asyncio.Semaphore(limit)
        self._free: deque[tuple[Any, float]] = deque()
        self._lent: set[Any] = set()
        self._left: weakref.WeakSet[Any] = weakref.WeakSet()
        self.closed = False

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Any]:
        """A connection for the block. One that comes back broken or in a transaction is thrown away.

        Raises what connecting raises, TimeoutError when all are lent out for too long.
        """
        if self.closed:
            raise Unavailable("the database is closed", "the daemon is stopping")
        try:
            with while_others_are_served():
                async with asyncio.timeout(ACQUIRE_SECONDS):
                    await self._places.acquire()
        except TimeoutError:
            raise TimeoutError(f"all {self._limit} connections are busy") from None
        try:
            connection = self._usable() or await self._connect()
            self._lent.add(connection)
            try:
                yield connection
            finally:
                self._lent.discard(connection)
                self._put_back(connection)
        finally:
            self._places.release()

    def _usable(self) -> Any | None:
        while self._free:
            connection, _ = self._free.pop()
            if not connection.is_closed():
                return connection
        return None

    def _put_back(self, connection: Any) -> None:
        left = connection in self._left
        if self.closed or left or connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
            return
        now = asyncio.get_running_loop().time()
        self._free.append((connection, now))
        while self._free[0][1] < now - IDLE_SECONDS:
            self._free.popleft()[0].terminate()

    def leave_server(self) -> None:
        """Let go of every session: those that are free now, those that are lent out once they come back.

        After a failover they may hang on a server that only reads, for as long as nobody ends them.
        """
        while self._free:
            self._free.popleft()[0].terminate()
        self._left.update(self._lent)

    async def close(self) -> None:
        """Close what is free, and cut what is at work."""
        self.closed = True
        while self._free:
            connection, _ = self._free.popleft()
            try:
                await connection.close(timeout=2.0)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()
        for connection in tuple(self._lent):
            connection.terminate()


async def keep_alive(connection: Any) -> None:
    """Have the kernel notice a server that is gone, within a minute."""
    sock = connection._transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
