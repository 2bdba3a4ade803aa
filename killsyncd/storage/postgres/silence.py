"""A server that takes connections and answers nothing: told from one that works on something long.

No time limit on a statement can tell the two apart: storing an import's batch or erasing a pilot may take a
minute. So while a transaction waits for long, somebody else asks the server for nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

SILENT_SECONDS = 15.0
"""Seconds without an end of a transaction after which the server is asked whether it answers at all, and then
again and again."""

ANSWER_SECONDS = 5.0
"""Seconds that it has to answer a new connection."""


@asynccontextmanager
async def cut_where_silent(
    connection: Any, connect: Callable[[], Awaitable[Any]], silent: Callable[[], None]
) -> AsyncIterator[None]:
    """Cut a connection whose server answers nobody during the block; what waits for it breaks then.

    connect: makes a connection outside of the pool. silent: is told before the cut. Costs nothing where the
    block is short.
    """
    loop = asyncio.get_running_loop()
    watching: list[asyncio.Task[None]] = []

    def begin() -> None:
        watching.append(loop.create_task(_watch(connection, connect, silent), name="silence"))

    timer = loop.call_later(SILENT_SECONDS, begin)
    try:
        yield
    finally:
        timer.cancel()
        for each in watching:
            each.cancel()


async def _watch(connection: Any, connect: Callable[[], Awaitable[Any]], silent: Callable[[], None]) -> None:
    while True:
        if not await _answers(connect):
            silent()
            connection.terminate()
            return
        await asyncio.sleep(SILENT_SECONDS)


async def _answers(connect: Callable[[], Awaitable[Any]]) -> bool:
    """Whether the server says anything to somebody new; that it has no place for us is an answer, too."""
    found: Any = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            found = await connect()
            await found.execute("SELECT 1")
    except (OSError, TimeoutError, asyncpg.ConnectionDoesNotExistError):
        return False
    except asyncpg.PostgresError:
        return True
    finally:
        if found is not None:
            with suppress(Exception):
                found.terminate()
    return True
