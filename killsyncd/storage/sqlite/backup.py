"""Backups of a SQLite database: made while the daemon works, checked when read, restored whole.

A backup is one tar file: `manifest.json` first, then `killsyncd.db`, which any SQLite opens. The
encryption key is not in it, on purpose: whoever has both has the pilots' tokens. The manifest says so.

Restoring gives the feed a new epoch, so that cursors from before are refused and not taken for
other places, and carries over from the database it replaces what ESI remembers of us: spent budgets,
and until when lists must not be asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from killsyncd.core.errors import BadInput, Refused, SchemaRefused, Unavailable

FORMAT = 1
MANIFEST, DATABASE = "manifest.json", "killsyncd.db"
KEY_NOTE = "The encryption key (security.key_file) is not in this backup. Keep a copy of it elsewhere."
CHUNK = 1 << 20
_SPARE = 64 << 20
"""Bytes that stay free on the disk beside the copy."""
_END = 2 * tarfile.BLOCKSIZE
_COUNTED = ("users", "killmails", "sightings", "refs")


class BackupSource(Protocol):
    """A database that can be copied while it is in use (`storage.sqlite.SqliteStore`)."""

    @property
    def path(self) -> Path: ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to a new file."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. sha256, bytes: of the database in it."""

    format: int
    version: str
    created_at: str
    schema: int
    counts: Mapping[str, int]
    bytes: int
    sha256: str
    key: str = KEY_NOTE


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that waits to be read. size: of the whole tar, in bytes."""

    manifest: Manifest
    copy: Path
    size: int

    async def chunks(self) -> AsyncIterator[bytes]:
        """The tar, piece by piece."""
        text = _manifest_text(self.manifest)
        yield _header(MANIFEST, len(text), self.manifest) + _padded(text)
        yield _header(DATABASE, self.manifest.bytes, self.manifest)
        with self.copy.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, CHUNK):
                yield piece
        yield bytes(-self.manifest.bytes % tarfile.BLOCKSIZE + _END)


@asynccontextmanager
async def make(source: BackupSource, version: str, now: float) -> AsyncIterator[Made]:
    """Copy the database and describe the copy; it lies beside the database until the block ends.

    Raises Unavailable (no space, database failing), Refused (the copy is damaged).
    """
    await asyncio.to_thread(_need_space, source.path)
    copy = source.path.with_name(f".{source.path.name}.backup-{secrets.token_hex(4)}")
    try:
        yield await _copy(source, copy, version, now)
    finally:
        _remove(copy)


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
    sizes = (len(_manifest_text(manifest)), manifest.bytes)
    return Made(manifest, copy, sum(_blocks(each) + tarfile.BLOCKSIZE for each in sizes) + _END)


def _remove(path: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def _need_space(path: Path) -> None:
    # A file that was removed while it is in use can be copied all the same: that saves it.
    needed = (path.stat().st_size if path.exists() else 0) + _SPARE
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise Unavailable(
            f"a backup needs {needed >> 20} MiB beside {path}, and {free >> 20} MiB are free",
            "free some space; the copy is removed again when the backup is written",
        )


def _describe(copy: Path, version: str, now: float) -> Manifest:
    with closing(_opened(copy)) as connection:
        faults = _check(connection)
        if faults:
            raise Refused(
                f"the database is damaged: {faults[0]}", "restore an older backup; killsyncd check says more"
            )
        schema = _schema(connection)
        counts = _counts(connection)
    created = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Manifest(FORMAT, version, created, schema, counts, copy.stat().st_size, _sha256(copy))


def _opened(path: Path, *, writable: bool = False) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
    return sqlite3.connect(uri, uri=True, isolation_level=None)


def _check(connection: sqlite3.Connection) -> list[str]:
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def _schema(connection: sqlite3.Connection) -> int:
    try:
        ours = connection.execute("SELECT value FROM meta WHERE key = 'application'").fetchone()
        number = connection.execute("SELECT MAX(number) FROM schema_migrations").fetchone()
    except sqlite3.DatabaseError as error:
        raise SchemaRefused(f"the database in it is not killsyncd's: {error}", "name another file") from None
    if ours is None or ours[0] != "killsyncd" or number[0] is None:
        raise SchemaRefused("the database in it is not killsyncd's", "name another file")
    return int(number[0])


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    return {
        table: int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) for table in _COUNTED
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _manifest_text(manifest: Manifest) -> bytes:
    return (json.dumps(asdict(manifest), indent=2) + "\n").encode()


def _header(name: str, size: int, manifest: Manifest) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    info.mtime = int(datetime.fromisoformat(manifest.created_at).timestamp())
    return info.tobuf(tarfile.GNU_FORMAT)


def _blocks(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _padded(data: bytes) -> bytes:
    return data + bytes(_blocks(len(data)) - len(data))


# --- reading them -------------------------------------------------------------------------------


def read_manifest(path: Path, file: BinaryIO | None = None) -> Manifest:
    """The manifest of a backup. Raises BadInput for what is none.

    file: its content, where we may not open it ourselves.
    """
    with _tar(path, file) as tar:
        return _manifest_of(path, tar)


def verify(path: Path, file: BinaryIO | None = None) -> Manifest:
    """Read the whole backup against its manifest's checksum. Raises BadInput.

    file: its content, where it does not bear its name yet.
    """
    with _tar(path, file) as tar:
        manifest = _manifest_of(path, tar)
        digest = hashlib.sha256()
        for piece in _pieces(path, tar):
            digest.update(piece)
        if digest.hexdigest() != manifest.sha256:
            raise BadInput(f"{path} is damaged: its checksum does not hold", "take another backup")
    return manifest


@contextmanager
def _tar(path: Path, file: BinaryIO | None = None) -> Iterator[tarfile.TarFile]:
    try:
        stream = file if file is not None else path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", "name a backup of killsyncd") from None
    try:
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            yield tar
    except tarfile.TarError:
        raise _no_backup(path) from None
    finally:
        if stream is not file:
            stream.close()


def _no_backup(path: Path) -> BadInput:
    return BadInput(f"{path} is no backup of killsyncd", "killsyncd backup --output FILE makes one")


def _manifest_of(path: Path, tar: tarfile.TarFile) -> Manifest:
    try:
        member = tar.extractfile(MANIFEST)
        assert member is not None, "a directory is none"
        document = json.loads(member.read(1 << 20))
        if document["format"] != FORMAT:
            raise BadInput(
                f"{path} was made by a newer killsyncd ({document.get('version')})", "install that release"
            )
        return Manifest(**{name: document[name] for name in Manifest.__dataclass_fields__})
    except (KeyError, ValueError, TypeError, AssertionError):
        raise BadInput(
            f"{path} is no backup of killsyncd", "killsyncd backup --output FILE makes one"
        ) from None


def _pieces(path: Path, tar: tarfile.TarFile) -> Iterator[bytes]:
    try:
        member = tar.extractfile(DATABASE)
    except KeyError:
        member = None
    if member is None:
        raise BadInput(f"{path} holds no database: it was cut off", "take another backup")
    while piece := member.read(CHUNK):
        yield piece
    # Two empty blocks end a tar; Python does not miss them, but whoever cut them off cut a backup.
    if len(tar.fileobj.read(_END)) < _END:
        raise BadInput(f"{path} is damaged: it was cut off", "take another backup")


# --- restoring ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` did. kept: where the database lies that was there before, None without one."""

    manifest: Manifest
    kept: Path | None


def restore(
    path: Path,
    target: Path,
    *,
    newest_schema: int,
    accept: Callable[[str | None], None],
    now: float,
    file: BinaryIO | None = None,
) -> Restored:
    """Put the backup in the place of `target`; whoever calls holds the database's lock.

    newest_schema: what this program knows. accept: looks at the canary in the backup (base64,
    None without one) and raises KeyRefused when the key in place is another's. file: the backup's
    content, where we may not open it ourselves; `path` is then only what it is called.
    Raises BadInput (damaged), SchemaRefused, KeyRefused, Refused; then `target` is untouched.
    """
    fresh = target.with_name(f".{target.name}.restore-{secrets.token_hex(4)}")
    try:
        manifest = _extract(path, fresh, file)
        with closing(_opened(fresh, writable=True)) as connection:
            if faults := _check(connection):
                raise BadInput(f"the database in {path} is damaged: {faults[0]}", "take another backup")
            schema = _schema(connection)
            if schema > newest_schema:
                raise SchemaRefused(
                    f"{path} has schema {schema}, this killsyncd knows {newest_schema} at most",
                    f"install killsyncd {manifest.version} or newer; nothing was changed",
                )
            if (schema, _counts(connection)) != (manifest.schema, manifest.counts):
                raise BadInput(
                    f"{path} is damaged: its manifest is not that of the database in it",
                    "take another backup; nothing was changed",
                )
            canary = connection.execute("SELECT value FROM meta WHERE key = 'key_canary'").fetchone()
            accept(str(canary[0]) if canary else None)
            _begin_anew(connection)
            if target.exists() and target.stat().st_size:
                _carry_over(connection, target)
            connection.execute("PRAGMA journal_mode = DELETE")
        _give_to_owner(fresh, target)
        kept = _swap(fresh, target, now)
    except OSError as error:
        raise Refused(
            f"{target} cannot be written: {error.strerror}", "run this as the daemon's user"
        ) from None
    finally:
        for each in (fresh, Path(f"{fresh}-journal"), Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
            each.unlink(missing_ok=True)
    return Restored(manifest, kept)


def _extract(path: Path, fresh: Path, content: BinaryIO | None) -> Manifest:
    with _tar(path, content) as tar:
        manifest = _manifest_of(path, tar)
        digest = hashlib.sha256()
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in _pieces(path, tar):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    if digest.hexdigest() != manifest.sha256:
        raise BadInput(
            f"{path} is damaged: its checksum does not hold", "take another backup; nothing was changed"
        )
    return manifest


def _begin_anew(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'feed_epoch'", (secrets.token_hex(4),))
    connection.execute("DELETE FROM daemons")  # their leases fall with them
    connection.execute("COMMIT")


def _carry_over(connection: sqlite3.Connection, old: Path) -> None:
    """What ESI remembers of us does not go back in time with the database."""
    with suppress(sqlite3.Error):  # an old database that cannot be read has nothing to say
        connection.execute("ATTACH DATABASE ? AS old", (f"{old.absolute().as_uri()}?mode=ro",))
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM main.spends")
            for table in ("budgets", "gates", "esi_routes", "spends"):
                columns = _shared_columns(connection, table)
                connection.execute(
                    f"INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM old.{table}"
                )
            connection.execute(_LATER_PAGES)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("DETACH DATABASE old")


def _shared_columns(connection: sqlite3.Connection, table: str) -> str:
    """The columns that both have: the backup may be of an older schema than the database it replaces."""
    main, old = (
        [str(row[1]) for row in connection.execute(f"PRAGMA {schema}.table_info({table})")]
        for schema in ("main", "old")
    )
    return ", ".join(each for each in main if each in old)


# A list that was asked for since the backup must not be asked for before its Expires. The ETag goes:
# it vouches for sightings that the backup does not have.
_LATER_PAGES = """
UPDATE main.pages SET etag = NULL, expires_at = later.expires_at, asked_at = later.asked_at,
    answered_at = later.answered_at
FROM (SELECT s.id AS source_id, p.page, p.expires_at, p.asked_at, p.answered_at
      FROM old.pages p JOIN old.sources o ON o.id = p.source_id
      JOIN main.sources s ON s.kind = o.kind AND s.subject_id = o.subject_id) AS later
WHERE main.pages.source_id = later.source_id AND main.pages.page = later.page
    AND later.answered_at > main.pages.answered_at
"""


def _give_to_owner(fresh: Path, target: Path) -> None:
    """Root may restore for a daemon that runs as somebody else."""
    if os.geteuid() == 0:
        owner = (target if target.exists() else target.parent).stat()
        os.chown(fresh, owner.st_uid, owner.st_gid)


def _swap(fresh: Path, target: Path, now: float) -> Path | None:
    kept = None
    if target.exists():
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        kept = target.with_name(f"{target.name}.before-restore-{stamp}")
        while kept.exists():  # a second restore within the second
            kept = kept.with_name(f"{kept.name}-more")
        # The old journal belongs to the old file: left behind, SQLite would play it into the new one.
        for ending in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.replace(f"{target}{ending}", f"{kept}{ending}")
    os.replace(fresh, target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return kept


def describe(manifest: Manifest) -> Mapping[str, Any]:
    """A manifest as JSON."""
    return asdict(manifest)
