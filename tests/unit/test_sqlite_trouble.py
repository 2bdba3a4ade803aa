"""A file that worked and then does not is waited for; one that never did is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from killsyncd.core.errors import Refused, Unavailable
from killsyncd.storage.sqlite.store import READERS, SqliteStore
from killsyncd.storage.transaction import Sql, Tx
from tests.support.clocks import ManualClock


def broken() -> Tx[None]:
    yield Sql("SELECT 1", {})
    raise sqlite3.OperationalError("unable to open database file")


def fine() -> Tx[None]:
    yield Sql("SELECT 1", {})


def look() -> Tx[None]:
    yield Sql("SELECT * FROM things", {})


def change() -> Tx[None]:
    yield Sql("INSERT INTO things VALUES (1)", {})


def grow() -> Tx[None]:
    yield Sql("INSERT INTO things VALUES (zeroblob(100000))", {})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with a table `things`."""
    store = await SqliteStore.open(tmp_path / "a.db", ManualClock())
    async with store.alone():
        await store.script(["CREATE TABLE things (thing)"])
    try:
        yield store
    finally:
        await store.close()


async def test_what_cannot_be_opened_any_more_may_come_back(tmp_path: Path) -> None:
    """Refused ends the daemon with 78, and the service manager leaves it so."""
    store = await SqliteStore.open(tmp_path / "a.db", ManualClock())
    try:
        with pytest.raises(Refused):
            await store.write(broken)
        await store.write(fine)
        for run in (store.write, store.read):
            with pytest.raises(Unavailable, match="cannot be written"):
                await run(broken)
    finally:
        await store.close()


def _pragma(text: str) -> Tx[None]:
    yield Sql(f"PRAGMA {text}", {})


async def test_a_lock_that_lasts_is_no_progress(store: SqliteStore) -> None:
    """Told until a write goes through, so that status and watchdog know."""
    await store._writer.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await store.write(change)
        assert store.stuck
        assert "locked" in str(store.trouble)
        await store.read(fine)
        assert store.stuck, "that it can be read says nothing"
    await store.write(fine)
    assert (store.trouble, store.stuck) == (None, False)


async def test_a_full_disk_is_trouble_until_something_is_written(store: SqliteStore) -> None:
    """Taking the lock works on a full disk, too; and it is no standstill: a new start would not help."""
    (pages,) = await store._writer.execute_fetchall("PRAGMA page_count")
    await store.write(_pragma, f"max_page_count = {pages[0]}")
    with pytest.raises(Unavailable, match="full"):
        await store.write(grow)
    await store.write(fine)
    assert "full" in str(store.trouble)
    assert not store.stuck
    await store.write(_pragma, "max_page_count = 100000")
    await store.write(grow)
    assert store.trouble is None


async def test_a_file_that_is_gone_is_told(store: SqliteStore) -> None:
    """What is stored now would be lost with the last open descriptor; a backup saves it."""
    for _ in range(READERS):
        await store.read(look)  # each of them has the file open by now
    store.path.unlink()
    await store.write(change)
    assert "killsyncd backup" in str(store.trouble)
    copy = store.path.with_name("copy.db")
    await store.backup(copy)
    with closing(sqlite3.connect(copy)) as saved:
        assert saved.execute("SELECT COUNT(*) FROM things").fetchone() == (1,)


async def test_a_damaged_file_is_refused_at_the_start(tmp_path: Path) -> None:
    """78: starting again does not mend it."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE things (thing)")
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    with pytest.raises(Refused, match="damaged"):
        await SqliteStore.open(path, ManualClock())
