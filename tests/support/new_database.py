"""A SQLite database with the schema in it, for tests that do not ask how it came there."""

from __future__ import annotations

from pathlib import Path

from killsyncd.core.clock import Clock
from killsyncd.storage.migrations import migrate
from killsyncd.storage.sqlite.store import SqliteStore

_made: list[bytes] = []


async def open_migrated(path: Path, clock: Clock) -> SqliteStore:
    """Open it, made where it is not there yet.

    Each process migrates one, and copies it after that: all migrations take 30 ms of CPU, and an fsync each.
    All copies have the same feed epoch.
    """
    if not path.exists():
        if not _made:
            store = await SqliteStore.open(path, clock)
            await migrate(store)
            await store.close()
            assert not path.with_name(f"{path.name}-wal").exists(), "all of it is in the file"
            _made.append(path.read_bytes())
        else:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            path.write_bytes(_made[0])
    return await SqliteStore.open(path, clock)
