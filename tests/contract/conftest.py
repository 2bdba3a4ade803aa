"""One suite over every store. A backend is ten lines: how to open it, and how time passes in it.

`backend` runs a test on SQLite and on PostgreSQL, `shared` on those that several daemons can use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from killsyncd.core.clock import Clock, SystemClock
from killsyncd.storage.migrations import Migratable
from killsyncd.storage.postgres.store import PostgresStore
from killsyncd.storage.sqlite.store import SqliteStore
from killsyncd.storage.transaction import Run, Sql, Tx, one
from tests.support.clocks import ManualClock
from tests.support.migrated_postgres import MigratedDatabases
from tests.support.new_database import open_migrated
from tests.support.server_urls import create_database, drop_database
from tests.support.storage_world import StorageWorld


class Backend(Protocol):
    """A database of a test's own."""

    clock: Clock

    async def open(self) -> Migratable:
        """A store as one more daemon would open it; where only one may, always the same."""

    async def pass_time(self, seconds: float) -> None:
        """Let the database's time go on."""

    async def close(self) -> None:
        """Close every store that was opened, and remove the database."""


class Sqlite:
    """A file in the test's folder, its time a clock that the test moves."""

    def __init__(self, path: Path, *, empty: bool = True) -> None:
        self.clock: Clock = ManualClock()
        self.path = path
        self._open = SqliteStore.open if empty else open_migrated
        self._store: SqliteStore | None = None

    async def with_clock(self, clock: Clock) -> Sqlite:
        """The same file with another clock, for tests that wait for real sockets."""
        await self.close()
        self._store, self.clock = None, clock
        return self

    async def open(self) -> Migratable:
        self._store = self._store or await self._open(self.path, self.clock)
        return self._store

    async def pass_time(self, seconds: float) -> None:
        assert isinstance(self.clock, ManualClock), "real time passes by itself"
        self.clock.tick(seconds)

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()


class Postgres:
    """A database on a server. Its time cannot be moved, so what is written in it moves back."""

    def __init__(self, url: str, databases: MigratedDatabases | None = None) -> None:
        """databases: where it came from, and goes back to."""
        self.clock = SystemClock()
        self.url = url
        self._databases = databases
        self._stores: list[PostgresStore] = []

    async def open(self) -> Migratable:
        self._stores.append(await PostgresStore.open(self.url, connections=5))
        return self._stores[-1]

    async def pass_time(self, seconds: float) -> None:
        await self._stores[0].write(_age, seconds)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        if self._databases is None:
            await drop_database(self.url)
        else:
            await self._databases.give_back(self.url)


def _age(seconds: float) -> Tx[None]:
    found = yield Sql(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND (column_name LIKE '%\\_at'"
        " OR column_name IN ('not_before', 'alive_until', 'blocked_until', 'state_since'))"
        " AND data_type IN ('double precision', 'timestamp with time zone')",
        {},
    )
    for table, column, kind in found:
        moved = "make_interval(secs => :seconds)" if kind.startswith("timestamp") else ":seconds"
        yield Sql(f"UPDATE {table} SET {column} = {column} - {moved}", {"seconds": seconds})


@pytest.fixture(scope="session")
def databases() -> Iterator[MigratedDatabases]:
    """Databases with the schema in them, which tests use one after the other."""
    found = MigratedDatabases()
    yield found
    # The session outlives the tests' loops.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, found.end()).result()


POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


async def _backend(kind: str, path: Path, request: pytest.FixtureRequest, empty: bool) -> Backend:
    if kind == "sqlite":
        return Sqlite(path / "killsyncd.db", empty=empty)
    if empty:
        return Postgres(await create_database())
    databases: MigratedDatabases = request.getfixturevalue("databases")
    return Postgres(await databases.take(), databases)


@pytest.fixture(params=["sqlite", POSTGRES])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A database without tables."""
    backend = await _backend(request.param, tmp_path, request, True)
    yield backend
    await backend.close()


@pytest.fixture(params=["sqlite", POSTGRES])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A database with the schema."""
    backend = await _backend(request.param, tmp_path, request, False)
    yield backend
    await backend.close()


@pytest.fixture(params=[POSTGRES])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """A database with the schema that several daemons can use at once."""
    backend = await _backend(request.param, tmp_path, request, False)
    yield backend
    await backend.close()


@pytest.fixture
async def store(backend: Backend) -> Migratable:
    """The store of the only daemon."""
    return await backend.open()


@pytest.fixture
async def world(backend: Backend, store: Migratable) -> StorageWorld:
    """A daemon, and whom it syncs."""
    return await StorageWorld.begin(backend, store)


@pytest.fixture
async def worlds(shared: Backend) -> list[StorageWorld]:
    """Two daemons on one database."""
    return [await StorageWorld.begin(shared, await shared.open()) for _ in range(2)]


async def now(store: Migratable) -> float:
    """What time it is in the database."""

    def ask() -> Tx[Any]:
        row = one((yield Run("meta.now", {})))
        assert row is not None
        return row["now"]

    return float(await store.read(ask))
