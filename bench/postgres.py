"""A PostgreSQL database for a row that wants one; rows are measured without where there is no server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from tests.support.server_urls import POSTGRES_URL, create_database, drop_database


@contextmanager
def a_database() -> Iterator[str | None]:
    """A new database's address during the block; None without a server."""
    url = asyncio.run(_made())
    try:
        yield url
    finally:
        if url is not None:
            asyncio.run(drop_database(url))


async def _made() -> str | None:
    try:
        await (await asyncpg.connect(POSTGRES_URL, timeout=5)).close()
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return None
    return await create_database()
