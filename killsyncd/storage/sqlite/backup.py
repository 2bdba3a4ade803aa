"""Backups of a SQLite database, made while the daemon works. `archive` is their file, `restore` the way back.

The encryption key is not in it, on purpose: whoever has both has the pilots' tokens. The manifest says so.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from killsyncd.core.errors import Refused, Unavailable
from killsyncd.core.logging import get_logger
from killsyncd.storage.sqlite.archive import (
    CHUNK,
    DATABASE,
    END,
    FORMAT,
    MANIFEST,
    Manifest,
    blocks,
    describe,
    header,
    manifest_text,
    moment,
    padded,
    read_manifest,
    verify,
)
from killsyncd.storage.sqlite.inspection import counts_of, faults_in, open_file, schema_of, sha256_of

__all__ = ["BackupSource", "Made", "Manifest", "describe", "make", "read_manifest", "tidy", "verify"]

SPARE = 64 << 20
"""Bytes that stay free on the disk beside the copy."""

_under_way: set[Path] = set()
"""Copies that this process is making: whoever tidies up leaves them alone."""

log = get_logger(__name__)


class BackupSource(Protocol):
    """A database that can be copied while it is in use (`storage.sqlite.SqliteStore`)."""

    @property
    def path(self) -> Path: ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to a new file."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that waits to be read. size: of the whole tar, in bytes."""

    manifest: Manifest
    copy: Path
    size: int

    async def chunks(self) -> AsyncIterator[bytes]:
        """The tar, piece by piece."""
        text = manifest_text(self.manifest)
        yield header(MANIFEST, len(text), self.manifest) + padded(text)
        yield header(DATABASE, self.manifest.bytes, self.manifest)
        with self.copy.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, CHUNK):
                yield piece
        yield bytes(-self.manifest.bytes % tarfile.BLOCKSIZE + END)


@asynccontextmanager
async def make(source: BackupSource, version: str, now: float) -> AsyncIterator[Made]:
    """Copy the database and describe the copy; it lies beside the database until the block ends.

    Raises Unavailable (no space, database failing), Refused (the copy is damaged).
    """
    await asyncio.to_thread(tidy, source.path)
    await asyncio.to_thread(_need_space, source.path)
    copy = source.path.with_name(f".{source.path.name}.backup-{secrets.token_hex(4)}")
    _under_way.add(copy)
    try:
        yield await _copy(source, copy, version, now)
    finally:
        _remove(copy)
        _under_way.discard(copy)


async def _copy(source: BackupSource, copy: Path, version: str, now: float) -> Made:
    try:
        # Made by us first, so that nobody else can read it while it grows.
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        await source.backup(copy)
        manifest = await asyncio.to_thread(_describe, copy, version, now)
    except OSError as error:
        raise Unavailable(
            f"the copy cannot be written beside the database: {error.strerror}", "killsyncd check"
        ) from None
    sizes = (len(manifest_text(manifest)), manifest.bytes)
    return Made(manifest, copy, sum(blocks(each) + tarfile.BLOCKSIZE for each in sizes) + END)


def _remove(path: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def _need_space(path: Path) -> None:
    # A file that was removed while it is in use can be copied all the same: that saves it.
    needed = (path.stat().st_size if path.exists() else 0) + SPARE
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise Unavailable(
            f"a backup needs {needed >> 20} MiB beside {path}, and {free >> 20} MiB are free",
            "free some space; the copy is removed again when the backup is written",
        )


def _describe(copy: Path, version: str, now: float) -> Manifest:
    with closing(open_file(copy)) as connection:
        faults = faults_in(connection)
        if faults:
            raise Refused(
                f"the database is damaged: {faults[0]}", "restore an older backup; killsyncd check says more"
            )
        schema = schema_of(connection, copy)
        counts = counts_of(connection)
    return Manifest(FORMAT, version, moment(now), schema, counts, copy.stat().st_size, sha256_of(copy))


def tidy(database: Path) -> None:
    """Remove what copies and restores that were cut off have left beside a database.

    Whoever calls holds the database's lock, so nobody but this process can be making one.
    """
    beginnings = tuple(f".{database.name}.{what}-" for what in ("backup", "restore", "schema"))
    busy = tuple(each.name for each in _under_way if each.parent == database.parent)
    with suppress(OSError):  # who may not look there has left nothing there
        for left in sorted(database.parent.iterdir()):
            if not left.name.startswith(beginnings) or left.name.startswith(busy) or left.is_dir():
                continue
            left.unlink(missing_ok=True)
            log.info("removed what a copy that was cut off had left", file=str(left))
