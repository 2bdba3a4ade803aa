"""What tests do to PostgreSQL behind a store's back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.transaction import Store, Tx

T = TypeVar("T")
U = TypeVar("U")


async def read_while(
    store: Store, first: Tx[T], meanwhile: Callable[[], Awaitable[Any]], second: Tx[U]
) -> tuple[T, U]:
    """One reading transaction with something else happening in its middle."""
    assert isinstance(store, PostgresStore)
    async with store._pool.borrow() as connection:
        await connection.execute(store._begin_read)
        before = await store._steps.drive(connection, first)
        await meanwhile()
        after = await store._steps.drive(connection, second)
        await connection.execute("COMMIT")
    return before, after


async def prepare(store: Store, text: str) -> None:
    """Have the server parse a query and infer the types of its parameters."""
    assert isinstance(store, PostgresStore)
    async with store._pool.borrow() as connection:
        await connection.prepare(text)


async def generic_plan(store: Store, text: str, parameters: int) -> str:
    """How PostgreSQL would run a prepared query, if reading whole tables were forbidden."""
    assert isinstance(store, PostgresStore)
    async with store._pool.borrow() as connection:
        # An empty table is read whole, whatever indexes it has: forbidding that shows another way.
        await connection.execute(
            "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
        )
        try:
            await connection.execute(f"PREPARE a_query AS {text}")
            nulls = ", ".join(["NULL"] * parameters)
            arguments = f"({nulls})" if parameters else ""
            rows = await connection.fetch(f"EXPLAIN EXECUTE a_query{arguments}")
            await connection.execute("DEALLOCATE a_query")
        finally:
            await connection.execute("ROLLBACK")
    return "\n".join(str(row[0]) for row in rows)


async def backends(store: PostgresStore, doing: str = "") -> list[int]:
    """The server's processes that work for this database, other than the asking one's."""
    async with store._pool.borrow() as connection:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%'",
            doing,
        )
    return [int(row[0]) for row in rows]


async def kill(store: PostgresStore, doing: str = "") -> int:
    """End every other connection to this database, as a restart of the server does; answers how many."""
    found = await backends(store, doing)
    async with store._pool.borrow() as connection:
        for pid in found:
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
    return len(found)
