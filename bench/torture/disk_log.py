"""What a disk may hold after a power cut, from the log that unsynced.c keeps of the database's files."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FILES = ("", "-wal", "-journal")
"""Of a database: what follows its name."""

_HEAD = struct.Struct("=cbqq")
_SECTOR = 512


class Note(NamedTuple):
    """One thing that was done to a file. kind: write, truncate, sync, unlink (their first letters)."""

    kind: bytes
    file: int
    offset: int
    data: bytes
    ends_at: int
    """Bytes of the log up to and with this note."""


def log_of(database: Path) -> Path:
    """Where the library writes."""
    return database.with_name(database.name + ".log")


def read_notes(log: Path) -> Iterator[Note]:
    """All whole notes, in order; the log may still grow, or end where its process was killed."""
    raw, at = log.read_bytes(), 0
    while at + _HEAD.size <= len(raw):
        kind, file, offset, length = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if at + length > len(raw):
            return
        yield Note(kind, file, offset, raw[at : at + length], at + length)
        at += length


@dataclass(slots=True)
class Disk:
    """safe: what each file certainly holds; None: it does not exist. open: what was done to it since."""

    safe: list[bytearray | None] = field(default_factory=lambda: [None] * len(FILES))
    open: list[list[Note]] = field(default_factory=lambda: [[] for _ in FILES])

    def apply(self, note: Note) -> None:
        """Time goes on by one note."""
        file = note.file
        if note.kind == b"u":
            self.safe[file], self.open[file] = None, []
        elif note.kind == b"s":
            self.safe[file] = _written(self.safe[file] or bytearray(), self.open[file])
            self.open[file] = []
        else:
            self.open[file].append(note)

    def cut(self, database: Path, rng: random.Random) -> int:
        """The power fails: write the files as they may be then. Answers how many writes are lost or torn.

        Of what was not synced each write may be there, whatever became of those before it, and parts of one
        at the borders of sectors.
        """
        lost = 0
        kept_share = rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        for file, name in enumerate(FILES):
            kept = list[Note]()
            for note in self.open[file]:
                if rng.random() < kept_share and note is not self.open[file][-1]:
                    kept.append(note)
                    continue
                lost += 1
                sectors = rng.randrange(len(note.data) // _SECTOR + 1)
                if note.kind == b"w" and sectors:
                    kept.append(note._replace(data=note.data[: sectors * _SECTOR]))
            path = database.with_name(database.name + name)
            if not kept and self.safe[file] is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(_written(bytearray(self.safe[file] or b""), kept))
        database.with_name(database.name + "-shm").unlink(missing_ok=True)
        return lost


def _written(image: bytearray, notes: list[Note]) -> bytearray:
    """The same image, with these done to it."""
    for note in notes:
        if len(image) < note.offset:
            image.extend(bytes(note.offset - len(image)))
        if note.kind == b"t":
            del image[note.offset :]
        else:
            image[note.offset : note.offset + len(note.data)] = note.data
    return image


def begin_log(database: Path) -> None:
    """What the files hold now is safe, and where the next notes begin."""
    parts = list[bytes]()
    for file, name in enumerate(FILES):
        path = database.with_name(database.name + name)
        if path.exists():
            image = path.read_bytes()
            parts += [_HEAD.pack(b"w", file, 0, len(image)), image, _HEAD.pack(b"s", file, 0, 0)]
    log_of(database).write_bytes(b"".join(parts))
