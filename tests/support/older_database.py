"""A SQLite database as an older release left it: the schema of then, with the rows of one of today."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from killsyncd.core.clock import SystemClock
from killsyncd.storage import migrations as migrating
from killsyncd.storage.migrations import migrate, migrations
from killsyncd.storage.sqlite.store import SqliteStore

OURS = ("schema_migrations", "sqlite_sequence", "sqlite_stat1", "sqlite_stat4")


def make_older(database: Path, last: str) -> None:
    """Put the database of a stopped daemon back to the schema that ended with this migration.

    last: its name. Tables and columns that came later are gone with what was in them.
    """
    number = next(each.number for each in migrations() if each.name == last)
    older = database.with_suffix(".older")
    asyncio.run(_made(older, number))
    with sqlite3.connect(older) as rows:
        rows.execute("PRAGMA foreign_keys = OFF")
        rows.execute("ATTACH ? AS today", (str(database),))
        names = [row[0] for row in rows.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")]
        for name in names:
            if name in OURS:
                continue
            then, now = _columns(rows, "main", name), _columns(rows, "today", name)
            shared = ", ".join(each for each in then if each in now)
            rows.execute(f"DELETE FROM main.{name}")
            rows.execute(f"INSERT INTO main.{name} ({shared}) SELECT {shared} FROM today.{name}")
        rows.commit()
        rows.execute("DETACH today")
    rows.close()
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    older.replace(database)
    for left in database.parent.glob(f"{older.name}-*"):
        left.unlink()


async def _made(path: Path, number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        then = [each for each in migrations() if each.number <= number]
        patch.setattr(migrating, "migrations", lambda: then)
        store = await SqliteStore.open(path, SystemClock())
        await migrate(store)
        await store.close()


def _columns(rows: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [row[1] for row in rows.execute(f"PRAGMA {schema}.table_info({table})")]
