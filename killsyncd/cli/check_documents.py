"""`killsyncd check`: stored killmails whose text is no JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from killsyncd.cli.checking import Finding, failed
from killsyncd.config import Config
from killsyncd.core.errors import KillsyncdError
from killsyncd.core.text import count
from killsyncd.storage.document_repair import (
    BATCH,
    Document,
    broken,
    checked_to,
    documents_after,
)
from killsyncd.storage.sqlite.passive import reading

SHOWN = 5
"""Killmails that are named."""


async def documents(config: Config) -> Finding | None:
    """Which stored killmails are no JSON. None where there is nothing to tell.

    Every database is looked through once by the daemon, and only what it has not seen yet is read here.
    """
    path = config.database.sqlite_path
    found: list[int] = []
    try:
        async for batch in _of_sqlite(path) if path is not None else _of_postgres(config):
            found += broken(batch)
    except (KillsyncdError, sqlite3.Error) as error:
        if isinstance(error, KillsyncdError):
            return failed("documents", error)
        return None  # the database's own line says what is wrong with it
    if not found:
        return None
    named = ", ".join(str(each) for each in found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return Finding(
        "documents",
        "warn",
        f"{count(len(found), 'stored killmail')} with text that is no JSON ({named})",
        "the daemon mends them by itself once it runs; until then `raw` shows them mended",
    )


async def _of_sqlite(path: Path) -> AsyncIterator[list[Document]]:
    if not path.exists():
        return
    with reading(path) as file:
        for batch in file.unchecked_documents():
            yield batch


async def _of_postgres(config: Config) -> AsyncIterator[list[Document]]:
    from killsyncd.core.clock import SystemClock
    from killsyncd.daemon.startup import open_store
    from killsyncd.storage.migrations import state

    store = await open_store(config, SystemClock())
    try:
        after = await store.read(checked_to) if await state(store) else None
        while after is not None and (batch := await store.read(documents_after, after, BATCH)):
            yield batch
            after = batch[-1][0]
    finally:
        await store.close()
