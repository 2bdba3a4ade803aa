"""The members of a tar under bzip2, one after the other, as a stream.

Not `tarfile`: over a compressed stream it costs as much as the unpacking itself, which alone is nearly all
that a killmail should cost. Names do not matter here: a header is a size and a kind (ustar, pax, GNU).
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 512
READ = 1 << 16
UNPACKED = 1 << 20
"""Bytes of the file, and of what is in it, that are held at once; a member comes on top."""

REGULAR = (b"0", b"\0")


class TooLong(Exception):
    """More came out of the archive than it may hold."""


def tar_members(path: Path, most: int, most_in_all: int) -> Iterator[bytes | None]:
    """The content of every regular member; None for that of one of more than `most` bytes.

    most_in_all: bytes that may come out of the archive, headers and everything else that is passed over
    included. Raises TooLong, OSError where it is no bzip2, EOFError where it ends in the middle, ValueError
    where it is no tar.
    """
    with path.open("rb") as file:
        stream = _Stream(_unpacked(file), most_in_all)
        while any(header := stream.take(BLOCK)):
            size, kind = _header(header)
            padding = -size % BLOCK
            if kind in REGULAR and size <= most:
                yield stream.take(size)
                stream.skip(padding)
            else:
                if kind in REGULAR:
                    yield None
                stream.skip(size + padding)


def _header(header: bytes) -> tuple[int, bytes]:
    """A member's size and kind. Raises ValueError where this is no header."""
    told = int(header[148:156].strip(b" \0") or b"-1", 8)
    if told != sum(header[:148]) + sum(header[156:]) + 8 * 0x20:
        raise ValueError("not the header of a member")
    if header[124] & 0x80:  # too large for octal digits
        size = int.from_bytes(header[125:136], "big")
    else:
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    if size < 0:
        raise ValueError("not the header of a member")
    return size, header[156:157]


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """What is in a bzip2 file, of one stream or several, in bounded pieces."""
    unpacker, packed = bz2.BZ2Decompressor(), file.read(READ)
    while True:
        piece = unpacker.decompress(packed, UNPACKED)
        if piece:
            yield piece
        if unpacker.eof:
            packed = unpacker.unused_data or file.read(READ)
            if not packed:
                return
            unpacker = bz2.BZ2Decompressor()
            continue
        packed = b""
        if unpacker.needs_input:
            packed = file.read(READ)
            if not packed:
                raise EOFError("it ends in the middle")


class _Stream:
    """Pieces, taken in other lengths."""

    def __init__(self, pieces: Iterator[bytes], most: int) -> None:
        self._pieces = pieces
        self._left = most
        self._held = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next so many bytes. Raises EOFError."""
        end = self._at + size
        if end > len(self._held):
            parts = [self._held[self._at :]]
            have = len(parts[0])
            while have < size:
                parts.append(self._next())
                have += len(parts[-1])
            self._held, self._at, end = b"".join(parts), 0, size
        taken = self._held[self._at : end]
        self._at = end
        return taken

    def skip(self, size: int) -> None:
        """Pass over so many bytes. Raises EOFError."""
        while size > len(self._held) - self._at:
            size -= len(self._held) - self._at
            self._held, self._at = self._next(), 0
        self._at += size

    def _next(self) -> bytes:
        piece = next(self._pieces, None)
        if piece is None:
            raise EOFError("it ends in the middle")
        self._left -= len(piece)
        if self._left < 0:
            raise TooLong
        return piece
