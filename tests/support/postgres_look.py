"""A look into PostgreSQL from beside the daemons; asks again while the server is away."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from tests.support.daemon import wait_for

_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def _value(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def value(url: str, sql: str) -> Any:
    """The first column of the first row."""

    def look() -> tuple[Any] | None:
        try:
            return (asyncio.run(_value(url, sql)),)
        except _AWAY:
            return None

    return wait_for(look, 60.0, "PostgreSQL does not answer", every=0.2)[0]
