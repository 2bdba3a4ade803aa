"""A file that worked and then does not is waited for; one that never did is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from killsyncd.errors import Refused, Unavailable
from killsyncd.storage.base import Sql, Tx
from killsyncd.storage.sqlite import SqliteStore
from tests.clocks import ManualClock


def broken() -> Tx[None]:
    yield Sql("SELECT 1", {})
    raise sqlite3.OperationalError("unable to open database file")


def fine() -> Tx[None]:
    yield Sql("SELECT 1", {})


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
