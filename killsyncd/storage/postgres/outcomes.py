"""Whether a transaction was committed whose connection broke under its COMMIT.

Each connection has a row in `outcomes`, its slot. The last statement before COMMIT leaves a token there;
whoever is in doubt afterwards reads the row from another connection. Decision 0016 has the reasons.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from killsyncd.core.errors import SchemaRefused
from killsyncd.storage.postgres.driver import DIALECT
from killsyncd.storage.postgres.errors import OutcomeUnknown, is_passing, is_race, translated
from killsyncd.storage.queries import expand

RESOLVE_SECONDS = 300.0
"""How long is asked whether a COMMIT happened, before its caller is told that it is not known."""

SLOT_SECONDS = 86400.0
"""A connection's row in `outcomes` is renewed so often, and swept a week after that."""

_MARK = expand(
    "UPDATE outcomes SET token = $1, at = {now} WHERE slot = $2"
    " AND pg_current_xact_id_if_assigned() IS NOT NULL RETURNING token",
    DIALECT,
)
_SLOT = expand(
    "INSERT INTO outcomes (slot, token, at) VALUES ($1, '', {now})"
    " ON CONFLICT (slot) DO UPDATE SET at = excluded.at",
    DIALECT,
)
_SWEEP = expand("DELETE FROM outcomes WHERE at < {now} - 604800", DIALECT)


async def ready(connection: Any) -> None:
    """See that a connection has its row. Raises SchemaRefused: there are no tables yet."""
    slot = connection.slot
    now = asyncio.get_running_loop().time()
    if slot.renewed_at is not None and now - slot.renewed_at < SLOT_SECONDS:
        return
    try:
        await connection.execute(_SLOT, slot.name)
        await connection.execute(_SWEEP)
    except asyncpg.UndefinedTableError as error:
        raise SchemaRefused("the database holds no tables yet", "killsyncd run makes them") from error
    slot.renewed_at = now


async def leave_token(connection: Any) -> str | None:
    """The last statement before COMMIT; None where the transaction has written nothing."""
    token: str | None = await connection.fetchval(_MARK, secrets.token_hex(8), connection.slot.name)
    return token


async def happened(
    connect: Callable[[], Awaitable[Any]], slot: str, token: str, where: str, hopeless: Callable[[], bool]
) -> bool:
    """Whether the transaction with this token was committed. Waits for one that still hangs.

    connect: makes a connection outside of the pool. hopeless: whether nobody should wait any longer.
    Raises OutcomeUnknown where the database does not answer in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RESOLVE_SECONDS
    while True:
        try:
            connection = await connect()
            try:
                # FOR UPDATE waits until the server has ended the broken connection's transaction.
                found = await connection.fetchval(
                    "SELECT token FROM outcomes WHERE slot = $1 FOR UPDATE", slot
                )
            finally:
                connection.terminate()
            return bool(found == token)
        except Exception as error:
            if not is_race(error) and not is_passing(error):
                raise translated(error, where) from error
            if hopeless() or loop.time() > deadline:
                raise OutcomeUnknown(
                    f"it is not known whether the last change was written: {where}",
                    "once the database answers again, work goes on by itself",
                ) from error
        await asyncio.sleep(random.uniform(0.1, 1.0))
