"""The file of a backup: one tar with `manifest.json` first and then `killsyncd.db`, and nothing else.

Read without `tarfile`'s own reader, which follows links, unpacks sparse files and keeps what extended
headers say: whatever is not exactly the two plain files is no backup. Every size is known, and held
against the file's own, before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

from killsyncd.core.errors import BadInput

FORMAT = 1
MANIFEST, DATABASE = "manifest.json", "killsyncd.db"
KEY_NOTE = "The encryption key (security.key_file) is not in this backup. Keep a copy of it elsewhere."
CHUNK = 1 << 20
COUNTED = ("users", "killmails", "sightings", "refs")
END = 2 * tarfile.BLOCKSIZE

_MOST_MANIFEST = 1 << 16
_SQLITE = b"SQLite format 3\x00"
_ANOTHER = "take another backup; nothing was changed"

_Line = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[\x20-\x7e]*$")]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. sha256, bytes: of the database in it; created_at: RFC 3339, UTC."""

    format: _Amount
    version: _Line
    created_at: _Line
    schema: Annotated[int, msgspec.Meta(ge=1, le=9999)]
    counts: Mapping[str, _Amount]
    bytes: _Amount
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    key: Annotated[str, msgspec.Meta(max_length=1000)] = KEY_NOTE


def describe(manifest: Manifest) -> Mapping[str, Any]:
    """A manifest as JSON."""
    return asdict(manifest)


def moment(seconds: float) -> str:
    """A time as manifests have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- writing ------------------------------------------------------------------------------------


def manifest_text(manifest: Manifest) -> bytes:
    """A manifest as it stands in the tar."""
    return (json.dumps(asdict(manifest), indent=2) + "\n").encode()


def header(name: str, size: int, manifest: Manifest) -> bytes:
    """What goes before a file in the tar."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    info.mtime = int(datetime.fromisoformat(manifest.created_at).timestamp())
    return info.tobuf(tarfile.GNU_FORMAT)


def blocks(size: int) -> int:
    """What a file of that size takes up in the tar."""
    return size + -size % tarfile.BLOCKSIZE


def padded(data: bytes) -> bytes:
    """Data up to the end of its last block."""
    return data + bytes(blocks(len(data)) - len(data))


# --- reading ------------------------------------------------------------------------------------


class Archive:
    """A backup that is being read. manifest: None for a bare copy of a database.

    size: of the database in it, in bytes; no more than the file has. changed_at: of the file.
    """

    def __init__(
        self, name: Path, file: BinaryIO, manifest: Manifest | None, size: int, changed_at: float
    ) -> None:
        self._name = name
        self._file = file
        self.manifest = manifest
        self.size = size
        self.changed_at = changed_at
        self.sha256 = ""

    def pieces(self) -> Iterator[bytes]:
        """The database, to be read once. Raises BadInput where it is not what the manifest says."""
        digest, left = hashlib.sha256(), self.size
        while left:
            piece = self._file.read(min(CHUNK, left))
            if not piece:
                raise _damaged(self._name, "it was cut off")
            digest.update(piece)
            left -= len(piece)
            yield piece
        self.sha256 = digest.hexdigest()
        if self.manifest is None:
            return
        if self.sha256 != self.manifest.sha256:
            raise _damaged(self._name, "its checksum does not hold")
        end = self._file.read(-self.size % tarfile.BLOCKSIZE + END)
        # Two empty blocks end a tar: whoever cut them off cut a backup, and whoever filled them added to it.
        if len(end) < -self.size % tarfile.BLOCKSIZE + END:
            raise _damaged(self._name, "it was cut off")
        if any(end):
            raise _damaged(self._name, "more is in it than a backup has")


@contextmanager
def opened(path: Path, content: BinaryIO | None = None) -> Iterator[Archive]:
    """Read a backup, or a bare copy of a database. Raises BadInput for what is neither.

    content: its bytes, where they have another name yet, or were opened by somebody else.
    """
    try:
        file = content if content is not None else path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", "name a backup of killsyncd") from None
    try:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise BadInput(f"{path} is no regular file", "name a backup of killsyncd")
        file.seek(0)
        if file.read(len(_SQLITE)) == _SQLITE:
            _refuse_in_use(path)
            file.seek(0)
            yield Archive(path, file, None, about.st_size, about.st_mtime)
            return
        file.seek(0)
        manifest = _read_manifest(path, file)
        _find_database(path, file, manifest, about.st_size)
        yield Archive(path, file, manifest, manifest.bytes, about.st_mtime)
    except OSError as error:
        if error.filename is not None:  # of another file than this one
            raise
        raise BadInput(f"{path} cannot be read: {error.strerror}", "take another backup") from None
    finally:
        if file is not content:
            file.close()


def _refuse_in_use(path: Path) -> None:
    """What is in its journal yet is not in a bare copy of a database."""
    for ending in ("-wal", "-journal"):
        beside = Path(f"{path}{ending}")
        if beside.exists() and beside.stat().st_size:
            raise BadInput(
                f"{path} is a database in use, or one that was not closed: {beside} belongs to it",
                "killsyncd backup --output FILE makes a whole copy",
            )


def _no_backup(path: Path) -> BadInput:
    return BadInput(f"{path} is no backup of killsyncd", "killsyncd backup --output FILE makes one")


def _damaged(path: Path, how: str) -> BadInput:
    return BadInput(f"{path} is damaged: {how}", _ANOTHER)


def _member(path: Path, file: BinaryIO, name: str) -> int:
    """The size of the plain file that begins here and has this name."""
    try:
        info = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise _no_backup(path) from None
    if info.name != name or info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.size < 0:
        raise _no_backup(path)
    return info.size


def _read_manifest(path: Path, file: BinaryIO) -> Manifest:
    size = _member(path, file, MANIFEST)
    if size > _MOST_MANIFEST:
        raise _no_backup(path)
    text = file.read(blocks(size))[:size]
    try:
        told = msgspec.json.decode(text, type=dict[str, Any])
        if isinstance(told.get("format"), int) and told["format"] > FORMAT:
            version = str(told.get("version"))[:64]
            made_by = version if version.isascii() and version.isprintable() else "its version is no text"
            raise BadInput(f"{path} was made by a newer killsyncd ({made_by})", "install that release")
        manifest = msgspec.convert(told, Manifest)
        created = datetime.fromisoformat(manifest.created_at)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        raise _no_backup(path) from None
    if created.tzinfo is None or not 1970 <= created.year < 9999:
        raise _no_backup(path)
    if manifest.format != FORMAT or set(manifest.counts) != set(COUNTED):
        raise _no_backup(path)
    return manifest


def _find_database(path: Path, file: BinaryIO, manifest: Manifest, size: int) -> None:
    """Go to the database's first byte, having held its size against everything that says one."""
    try:
        found = _member(path, file, DATABASE)
    except BadInput:
        raise BadInput(f"{path} holds no database: it was cut off", "take another backup") from None
    if found != manifest.bytes:
        raise _damaged(path, "its manifest is not that of the database in it")
    if file.tell() + blocks(found) + END > size:
        raise _damaged(path, "it was cut off")


def read_manifest(path: Path, file: BinaryIO | None = None) -> Manifest | None:
    """The manifest of a backup, None for a bare copy of a database. Raises BadInput for what is neither.

    file: its content, where we may not open it ourselves.
    """
    with opened(path, file) as archive:
        return archive.manifest


def verify(path: Path, file: BinaryIO | None = None) -> Manifest:
    """Read the whole backup against its manifest's checksum. Raises BadInput.

    file: its content, where it does not bear its name yet.
    """
    with opened(path, file) as archive:
        if archive.manifest is None:
            raise _no_backup(path)
        for _ in archive.pieces():
            pass
        return archive.manifest
